; CRC-32 (IEEE 802.3, as zlib) by carry-less multiplication, 128 bits wide.
;
; uint32_t nh_crc32_sse42(uint32_t crc, const uint8_t *data, size_t length)
;   edi = CRC of what came before (0 to begin), rsi = data, rdx = length, at least 16
;   eax = CRC with these bytes added
; Needs SSE4.2 and PCLMULQDQ. Clobbers rsi rdx rdi rax xmm0-xmm9. No alignment needed; reads exactly
; data[0, length).
;
; Four registers fold forward by 64 bytes a turn; then they join, 16 bytes at a time follow, and a partial
; block at the end is shifted in, so that one reduction (x^96, then Barrett) remains.

%include "nh.inc"
%define POLY 0xEDB88320
%include "crc32_fold.inc"

section .rodata
        align 16
CRC_FOLD_CONSTANT fold_512, 512
CRC_FOLD_CONSTANT fold_384, 384
CRC_FOLD_CONSTANT fold_256, 256
CRC_FOLD_CONSTANT fold_128, 128
CRC_REDUCE_CONSTANTS reduce
; Byte shuffles: from shift_in + r, bytes move up by 16 - r places (zeros enter); from shift_in + 16 + r,
; the same bytes move down by r, and the top r index bytes have their high bit set.
shift_in:
        times 16 db 0xff
        db 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
        times 16 db 0xff

; FOLD register, scratch, constants: moves a register forward; what stands there is yet to be added.
%macro FOLD 3
        movdqa %2, %1
        pclmulqdq %1, %3, 0x00
        pclmulqdq %2, %3, 0x11
        pxor %1, %2
%endmacro

NH_FUNCTION nh_crc32_sse42
        not edi
        movd xmm4, edi
        movdqu xmm0, [rsi]
        pxor xmm0, xmm4                 ; the running CRC enters with the first four bytes
        cmp rdx, 64
        jb .single

        movdqu xmm1, [rsi + 16]
        movdqu xmm2, [rsi + 32]
        movdqu xmm3, [rsi + 48]
        add rsi, 64
        sub rdx, 128
        jb .join
        movdqa xmm8, [fold_512]
        align 32
.four:
        movdqu xmm4, [rsi]
        movdqu xmm5, [rsi + 16]
        movdqu xmm6, [rsi + 32]
        movdqu xmm7, [rsi + 48]
        FOLD xmm0, xmm9, xmm8
        pxor xmm0, xmm4
        FOLD xmm1, xmm9, xmm8
        pxor xmm1, xmm5
        FOLD xmm2, xmm9, xmm8
        pxor xmm2, xmm6
        FOLD xmm3, xmm9, xmm8
        pxor xmm3, xmm7
        add rsi, 64
        sub rdx, 64
        jae .four

.join:                                  ; three registers move onto the fourth, side by side
        movdqa xmm4, [fold_384]
        movdqa xmm5, [fold_256]
        movdqa xmm6, [fold_128]
        FOLD xmm0, xmm7, xmm4
        FOLD xmm1, xmm8, xmm5
        FOLD xmm2, xmm9, xmm6
        pxor xmm0, xmm1
        pxor xmm2, xmm3
        pxor xmm0, xmm2
        add rdx, 64                     ; bytes after the block in xmm0
        jmp .more

.single:
        add rsi, 16
        sub rdx, 16
.more:
        movdqa xmm3, [fold_128]
        sub rdx, 16
        jb .partial
.block:
        movdqu xmm1, [rsi]
        FOLD xmm0, xmm2, xmm3
        pxor xmm0, xmm1
        add rsi, 16
        sub rdx, 16
        jae .block

.partial:
        add rdx, 16
        jz .reduce
        ; r = rdx bytes remain: the first r bytes of the register become a block of their own with zeros
        ; before them, and the last 16 bytes of the data complete the rest.
        lea rax, [shift_in]
        add rax, rdx
        movdqu xmm4, [rax]              ; moves up by 16 - r
        movdqu xmm5, [rax + 16]         ; moves down by r
        movdqu xmm1, [rsi + rdx - 16]
        movdqa xmm2, xmm0
        pshufb xmm2, xmm4               ; zeros, then the first r bytes
        pshufb xmm0, xmm5               ; the other 16 - r bytes, then zeros
        movdqa xmm6, xmm0
        movdqa xmm0, xmm5               ; pblendvb selects by xmm0: new bytes where the index ran out
        pblendvb xmm6, xmm1
        movdqa xmm0, xmm2
        FOLD xmm0, xmm1, xmm3
        pxor xmm0, xmm6

.reduce:
        movdqa xmm1, xmm0
        psrldq xmm1, 8
        pclmulqdq xmm0, [reduce], 0x00  ; 128 bits to 96: the first half times x^96
        pxor xmm0, xmm1
        movdqa xmm2, [reduce + 16]
        movdqa xmm1, xmm0
        pclmulqdq xmm1, xmm2, 0x00      ; its low half is the quotient by P
        pclmulqdq xmm1, xmm2, 0x10      ; times P
        pxor xmm0, xmm1
        pextrd eax, xmm0, 2
        not eax
        ret
NH_END nh_crc32_sse42
