; CRC-32 (IEEE): uint32_t nh_crc32_avx512(uint32_t crc, const uint8_t *data, size_t length)
; Contract, idea and code: crc_fold_avx2.inc, with registers of 512 bits.

%include "nh.inc"
%define POLY 0xEDB88320
%define CRC_AVX512
%include "crc_fold_avx2.inc"
CRC_FOLD_AVX2 nh_crc32_avx512
