; CRC-32 (IEEE 802.3, as zlib), 512 bits wide.
;
; uint32_t nh_crc32_avx512(uint32_t crc, const uint8_t *data, size_t length): as in crc_fold_avx512.inc.

%include "nh.inc"
%define POLY 0xEDB88320
%include "crc_fold_avx512.inc"
CRC_FOLD_AVX512 nh_crc32_avx512
