; Copy of large memory: void nh_copy_sse42(uint8_t *to, const uint8_t *from, size_t blocks)
; Contract and idea: copy_large.inc. Needs SSE2. Clobbers rax rdx rsi rdi xmm0-xmm7.

%include "nh.inc"
%define NAME nh_copy_sse42
%define WIDTH 16
%macro LOAD 2
        movdqu xmm%1, %2
%endmacro
%macro STREAM 2
        movntdq %1, xmm%2
%endmacro
%define LEAVE
%include "copy_large.inc"
