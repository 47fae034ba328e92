; Structural index of JSON:
; uint32_t *nh_json_index_avx512(const uint8_t *data, size_t blocks, uint32_t *out, struct state *state)
; Contract and idea: json_index_avx2.asm. Needs AVX-512 F and BW, PCLMULQDQ, BMI1 and
; POPCNT.

%include "nh.inc"
%define NAME nh_json_index_avx512
%include "json_index_avx512.inc"
