; Index of an HTTP header section:
; size_t nh_head_index_vbmi2(const uint8_t *data, size_t length, uint32_t *out, size_t room, uint32_t first)
; Contract and idea: head_index_avx2.asm; how positions are written: compress_marks.inc. Needs AVX-512 F, BW and VBMI2, BMI1, BMI2 and
; POPCNT.

%include "nh.inc"
%define NAME nh_head_index_vbmi2
%define COMPRESS
%include "head_index_avx512.inc"
