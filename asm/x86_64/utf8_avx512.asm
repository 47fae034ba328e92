; UTF-8 validation, 64 bytes a turn.
;
; uint32_t nh_utf8_avx512(const uint8_t *data, size_t blocks)
; Contract and idea: utf8_avx2.asm; but what stands before each byte is loaded. Needs AVX-512 F and BW. Clobbers rax rdi rsi k1 and zmm0-zmm15.

%include "nh.inc"
%define LANES 4
%include "utf8_tables.inc"

NH_FUNCTION nh_utf8_avx512
        vpxor xmm15, xmm15, xmm15       ; errors
        vmovdqa64 zmm14, [low_nibbles]
        vmovdqa64 zmm13, [second_high]
        vmovdqa64 zmm12, [first_low]
        vmovdqa64 zmm11, [first_high]
        vmovdqa64 zmm10, [fourth]
        vmovdqa64 zmm9, [third]
        mov eax, 0x80808080
        vpbroadcastd zmm8, eax
        vmovdqa xmm1, [open_end + 48]

        ; Before the first block there is nothing that could be read: it is shifted within registers.
        vmovdqu8 zmm0, [rdi]
        vpxor xmm2, xmm2, xmm2
        valignq zmm4, zmm0, zmm2, 6     ; the 16 bytes before each quarter
        vpalignr zmm5, zmm0, zmm4, 15
        vpalignr zmm2, zmm0, zmm4, 14
        vpalignr zmm3, zmm0, zmm4, 13
        jmp .judge

        align 32
.ascii:
        vmovdqu xmm3, [rdi - 16]
        vpsubusb xmm3, xmm3, xmm1
        vpord zmm15, zmm15, zmm3        ; an open sequence before ASCII is an error
.ascii_next:
        add rdi, 64
        dec rsi
        jz .verdict
        vmovdqu8 zmm0, [rdi]
        vptestmb k1, zmm0, zmm8
        kortestq k1, k1
        jz .ascii_next
        jmp .beyond
        align 32
.block:
        vmovdqu8 zmm0, [rdi]
        vptestmb k1, zmm0, zmm8
        kortestq k1, k1
        jz .ascii
.beyond:
        vmovdqu8 zmm5, [rdi - 1]        ; shuffles are scarcer here than loads
        vmovdqu8 zmm2, [rdi - 2]
        vmovdqu8 zmm3, [rdi - 3]
.judge:
        vpsrlw zmm6, zmm5, 4
        vpandd zmm6, zmm6, zmm14
        vpandd zmm5, zmm5, zmm14
        vpshufb zmm6, zmm11, zmm6
        vpshufb zmm5, zmm12, zmm5
        vpsrlw zmm7, zmm0, 4
        vpandd zmm7, zmm7, zmm14
        vpshufb zmm7, zmm13, zmm7
        vpternlogd zmm5, zmm6, zmm7, 0x80 ; errors of each pair: what all three allow
        vpsubusb zmm6, zmm2, zmm9       ; bit 7 where a sequence of three or more began two back
        vpsubusb zmm7, zmm3, zmm10      ; and of four, three back
        vpternlogd zmm6, zmm7, zmm8, 0xa8 ; either of them, and bit 7
        vpternlogd zmm15, zmm5, zmm6, 0xf6 ; added where the two differ
        add rdi, 64
        dec rsi
        jnz .block
.verdict:
        xor eax, eax
        vptestmb k1, zmm15, zmm15
        kortestq k1, k1
        setz al
        vzeroupper
        ret
NH_END nh_utf8_avx512
