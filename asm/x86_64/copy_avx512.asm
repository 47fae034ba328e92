; Copy of large memory: void nh_copy_avx512(uint8_t *to, const uint8_t *from, size_t blocks)
; Contract and idea: copy_large.inc. Needs AVX-512 F. Clobbers rax rdx rsi rdi zmm0-zmm1.

%include "nh.inc"
%define NAME nh_copy_avx512
%define WIDTH 64
%macro LOAD 2
        vmovdqu64 zmm%1, %2
%endmacro
%macro STREAM 2
        vmovntdq %1, zmm%2
%endmacro
%define LEAVE vzeroupper
%include "copy_large.inc"
