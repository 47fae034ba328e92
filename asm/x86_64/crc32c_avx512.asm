; CRC-32C (Castagnoli): uint32_t nh_crc32c_avx512(uint32_t crc, const uint8_t *data, size_t length)
; Contract, idea and code: crc_fold_avx2.inc, with registers of 512 bits.

%include "nh.inc"
%define POLY 0x82F63B78
%define CRC_INSTRUCTION                 ; the CPU's own crc32 has this polynomial: it does the last step
%define CRC_AVX512
%include "crc_fold_avx2.inc"
CRC_FOLD_AVX2 nh_crc32c_avx512
