; Copy of large memory: void nh_copy_avx2(uint8_t *to, const uint8_t *from, size_t blocks)
; Contract and idea: copy_large.inc. Needs AVX. Clobbers rax rdx rsi rdi ymm0-ymm3.

%include "nh.inc"
%define NAME nh_copy_avx2
%define WIDTH 32
%macro LOAD 2
        vmovdqu ymm%1, %2
%endmacro
%macro STREAM 2
        vmovntdq %1, ymm%2
%endmacro
%define LEAVE vzeroupper
%include "copy_large.inc"
