; UTF-8 validation, 64 bytes a turn.
;
; uint32_t nh_utf8_avx2(const uint8_t *data, size_t blocks)
;   rdi = data, rsi = whole blocks of 64 bytes (at least 1)
;   eax = 1 when no byte of them is wrong; a sequence that the end cuts short is not
; Reads exactly the blocks, at any alignment. Needs AVX2. Clobbers rax rdi rsi ymm0-ymm15.
;
; The idea (Keiser and Lemire, "Validating UTF-8 In Less Than One Instruction Per Byte"): what is wrong
; with two neighbouring bytes shows in three nibbles: both of the first byte, the high one of the second.
; Each nibble looks up the set of errors it allows; an error that all three allow has happened. Bit 7 says
; "two continuation bytes in a row", which is right exactly where a sequence of three or four began two or
; three bytes before. Blocks of ASCII only need to know that no sequence was open before them.

%include "nh.inc"
%define LANES 2
%include "utf8_tables.inc"

; CHECK bytes, bytes before them: adds what is wrong to ymm15.
%macro CHECK 2
        vperm2i128 ymm4, %2, %1, 0x21   ; the 16 bytes before each half
        vpalignr ymm5, %1, ymm4, 15     ; one byte back
        vpsrlw ymm6, ymm5, 4
        vpand ymm6, ymm6, ymm14
        vpand ymm5, ymm5, ymm14
        vpshufb ymm6, ymm11, ymm6
        vpshufb ymm5, ymm12, ymm5
        vpsrlw ymm7, %1, 4
        vpand ymm7, ymm7, ymm14
        vpshufb ymm7, ymm13, ymm7
        vpand ymm5, ymm5, ymm6
        vpand ymm5, ymm5, ymm7          ; errors of each pair
        vpalignr ymm6, %1, ymm4, 14
        vpalignr ymm7, %1, ymm4, 13
        vpsubusb ymm6, ymm6, ymm9       ; bit 7 where a sequence of three or more began two back
        vpsubusb ymm7, ymm7, ymm10      ; and of four, three back
        vpor ymm6, ymm6, ymm7
        vpand ymm6, ymm6, ymm8
        vpxor ymm6, ymm6, ymm5
        vpor ymm15, ymm15, ymm6
%endmacro

NH_FUNCTION nh_utf8_avx2
        vpxor xmm15, xmm15, xmm15       ; errors
        vpxor xmm2, xmm2, xmm2          ; the 32 bytes before
        vpxor xmm3, xmm3, xmm3          ; not 0: a sequence is open at their end
        vmovdqa ymm14, [low_nibbles]
        vmovdqa ymm13, [second_high]
        vmovdqa ymm12, [first_low]
        vmovdqa ymm11, [first_high]
        vmovdqa ymm10, [fourth]
        vmovdqa ymm9, [third]
        mov eax, 0x80808080
        vmovd xmm8, eax
        vpbroadcastd ymm8, xmm8
        cmp rsi, 2
        jb .last
        align 32
.pair:
        vmovdqu ymm0, [rdi]
        vmovdqu ymm1, [rdi + 64]
        vpor ymm4, ymm0, [rdi + 32]
        vpor ymm5, ymm1, [rdi + 96]
        vpor ymm4, ymm4, ymm5
        vpmovmskb eax, ymm4
        test eax, eax
        jnz .pair_beyond_ascii
        vpor ymm15, ymm15, ymm3         ; an open sequence before ASCII is an error
        vpxor xmm3, xmm3, xmm3
        vpxor xmm2, xmm2, xmm2
        add rdi, 128
        sub rsi, 2
        cmp rsi, 2
        jae .pair
        jmp .last
.pair_beyond_ascii:
        CHECK ymm0, ymm2
        vmovdqu ymm2, [rdi + 32]
        CHECK ymm2, ymm0
        CHECK ymm1, ymm2
        vmovdqu ymm2, [rdi + 96]
        CHECK ymm2, ymm1
        vpsubusb ymm3, ymm2, [open_end]
        add rdi, 128
        sub rsi, 2
        cmp rsi, 2
        jae .pair
.last:
        test rsi, rsi
        jz .verdict
        vmovdqu ymm0, [rdi]
        vmovdqu ymm1, [rdi + 32]
        CHECK ymm0, ymm2
        CHECK ymm1, ymm0
.verdict:
        xor eax, eax
        vptest ymm15, ymm15
        setz al
        vzeroupper
        ret
NH_END nh_utf8_avx2
