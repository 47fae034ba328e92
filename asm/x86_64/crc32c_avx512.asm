; CRC-32C (Castagnoli; RFC 3720 appendix B.4), 512 bits wide.
;
; uint32_t nh_crc32c_avx512(uint32_t crc, const uint8_t *data, size_t length): as in crc_fold_avx512.inc.

%include "nh.inc"
%define POLY 0x82F63B78
%define CRC_INSTRUCTION                 ; the CPU's own crc32 has this polynomial: it does the last step
%include "crc_fold_avx512.inc"
CRC_FOLD_AVX512 nh_crc32c_avx512
