; CRC-32 (IEEE 802.3, as zlib), 128 bits wide.
;
; uint32_t nh_crc32_sse42(uint32_t crc, const uint8_t *data, size_t length): as in crc_fold_sse42.inc.

%include "nh.inc"
%define POLY 0xEDB88320
%include "crc_fold_sse42.inc"
CRC_FOLD_SSE42 nh_crc32_sse42
