; CRC-32C (Castagnoli; RFC 3720 appendix B.4), 128 bits wide.
;
; uint32_t nh_crc32c_sse42(uint32_t crc, const uint8_t *data, size_t length): as in crc_fold_sse42.inc.

%include "nh.inc"
%define POLY 0x82F63B78
%define CRC_INSTRUCTION                 ; the CPU's own crc32 has this polynomial: it does the last step
%include "crc_fold_sse42.inc"
CRC_FOLD_SSE42 nh_crc32c_sse42
