; CRC-32 (IEEE 802.3, as zlib) by carry-less multiplication, 256 bits wide.
;
; uint32_t nh_crc32_avx2(uint32_t crc, const uint8_t *data, size_t length)
;   edi = CRC of what came before (0 to begin), rsi = data, rdx = length, at least 16
;   eax = CRC with these bytes added
; Needs AVX2, PCLMULQDQ and VPCLMULQDQ. Clobbers rsi rdx rdi rax ymm0-ymm9. No alignment needed; reads
; exactly data[0, length).
;
; As crc32_sse42.asm, but from 256 bytes on four registers of two blocks each fold forward by 128 bytes a
; turn. Short inputs stay 128 bits wide.

%include "nh.inc"
%define POLY 0xEDB88320
%include "crc32_fold.inc"

section .rodata
        align 32
CRC_FOLD_CONSTANT fold_1024, 1024
CRC_FOLD_CONSTANT fold_768, 768
CRC_FOLD_CONSTANT fold_512, 512
CRC_FOLD_CONSTANT fold_384, 384
CRC_FOLD_CONSTANT fold_256, 256
CRC_FOLD_CONSTANT fold_128, 128
CRC_REDUCE_CONSTANTS reduce
; Byte shuffles: see crc32_sse42.asm.
shift_in:
        times 16 db 0xff
        db 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
        times 16 db 0xff

; FOLD register, scratch, constants, addend: moves a register forward and adds what stands there.
%macro FOLD 4
        vpclmulqdq %2, %1, %3, 0x00
        vpclmulqdq %1, %1, %3, 0x11
        vpxor %2, %2, %4
        vpxor %1, %1, %2
%endmacro

NH_FUNCTION nh_crc32_avx2
        not edi
        vmovd xmm4, edi
        cmp rdx, 256
        jae .wide
        vpxor xmm0, xmm4, [rsi]         ; the running CRC enters with the first four bytes
        cmp rdx, 64
        jb .single
        vmovdqu xmm1, [rsi + 16]
        vmovdqu xmm2, [rsi + 32]
        vmovdqu xmm3, [rsi + 48]
        add rsi, 64
        sub rdx, 128
        jb .join
        vmovdqa xmm8, [fold_512]
.four:
        FOLD xmm0, xmm4, xmm8, [rsi]
        FOLD xmm1, xmm5, xmm8, [rsi + 16]
        FOLD xmm2, xmm6, xmm8, [rsi + 32]
        FOLD xmm3, xmm7, xmm8, [rsi + 48]
        add rsi, 64
        sub rdx, 64
        jae .four
.join:                                  ; three registers move onto the fourth, side by side
        vmovdqa xmm5, [fold_256]
        vmovdqa xmm6, [fold_128]
        FOLD xmm1, xmm8, xmm5, xmm3
        vmovdqa xmm4, [fold_384]
        vpclmulqdq xmm7, xmm0, xmm4, 0x00
        vpclmulqdq xmm0, xmm0, xmm4, 0x11
        vpxor xmm0, xmm0, xmm7
        FOLD xmm2, xmm9, xmm6, xmm1
        vpxor xmm0, xmm0, xmm2
        add rdx, 64                     ; bytes after the block in xmm0
        jmp .more

        align 32
.wide:
        vpxor ymm0, ymm4, [rsi]         ; vmovd cleared the upper half
        vmovdqu ymm1, [rsi + 32]
        vmovdqu ymm2, [rsi + 64]
        vmovdqu ymm3, [rsi + 96]
        vbroadcasti128 ymm8, [fold_1024]
        add rsi, 128
        sub rdx, 256
        align 32
.eight:
        FOLD ymm0, ymm4, ymm8, [rsi]
        FOLD ymm1, ymm5, ymm8, [rsi + 32]
        FOLD ymm2, ymm6, ymm8, [rsi + 64]
        FOLD ymm3, ymm7, ymm8, [rsi + 96]
        add rsi, 128
        sub rdx, 128
        jae .eight
        ; Four pairs of blocks become one pair, then one block.
        vbroadcasti128 ymm4, [fold_768]
        vbroadcasti128 ymm5, [fold_512]
        vbroadcasti128 ymm6, [fold_256]
        vpclmulqdq ymm7, ymm0, ymm4, 0x00
        vpclmulqdq ymm0, ymm0, ymm4, 0x11
        vpxor ymm0, ymm0, ymm7
        FOLD ymm1, ymm8, ymm5, ymm3
        FOLD ymm2, ymm9, ymm6, ymm1
        vpxor ymm0, ymm0, ymm2
        vextracti128 xmm1, ymm0, 1
        vmovdqa xmm3, [fold_128]
        FOLD xmm0, xmm2, xmm3, xmm1
        add rdx, 128
        vzeroupper
        jmp .more

.single:
        add rsi, 16
        sub rdx, 16
.more:
        vmovdqa xmm3, [fold_128]
        sub rdx, 16
        jb .partial
.block:
        FOLD xmm0, xmm2, xmm3, [rsi]
        add rsi, 16
        sub rdx, 16
        jae .block

.partial:
        add rdx, 16
        jz .reduce
        ; r = rdx bytes remain: the first r bytes of the register become a block of their own with zeros
        ; before them, and the last 16 bytes of the data complete the rest.
        lea rax, [shift_in]
        vmovdqu xmm4, [rax + rdx]       ; moves up by 16 - r
        vmovdqu xmm5, [rax + rdx + 16]  ; moves down by r, high bit set where the index ran out
        vpshufb xmm6, xmm0, xmm5
        vpblendvb xmm6, xmm6, [rsi + rdx - 16], xmm5
        vpshufb xmm0, xmm0, xmm4
        FOLD xmm0, xmm1, xmm3, xmm6

.reduce:
        vpsrldq xmm1, xmm0, 8
        vpclmulqdq xmm0, xmm0, [reduce], 0x00   ; 128 bits to 96: the first half times x^96
        vpxor xmm0, xmm0, xmm1
        vmovdqa xmm2, [reduce + 16]
        vpclmulqdq xmm1, xmm0, xmm2, 0x00       ; its low half is the quotient by P
        vpclmulqdq xmm1, xmm1, xmm2, 0x10       ; times P
        vpxor xmm0, xmm0, xmm1
        vpextrd eax, xmm0, 2
        not eax
        ret
NH_END nh_crc32_avx2
