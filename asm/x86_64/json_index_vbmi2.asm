; Structural index of JSON:
; uint32_t *nh_json_index_vbmi2(const uint8_t *data, size_t blocks, uint32_t *out, struct state *state)
; Contract and idea: json_index_avx2.asm; how positions are written: compress_marks.inc. Needs AVX-512 F, BW and VBMI2,
; PCLMULQDQ, BMI1 and POPCNT.

%include "nh.inc"
%define NAME nh_json_index_vbmi2
%define COMPRESS
%include "json_index_avx512.inc"
