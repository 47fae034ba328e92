; CRC-32C (Castagnoli; RFC 3720 appendix B.4), folding and the CPU's own instruction side by side.
;
; uint32_t nh_crc32c_avx2(uint32_t crc, const uint8_t *data, size_t length)
;   edi = CRC of what came before (0 to begin), rsi = data, rdx = length, 0 or more
;   eax = CRC with these bytes added
; Needs AVX2, SSE4.2, PCLMULQDQ and VPCLMULQDQ. Clobbers rax rcx rdx rsi rdi r8-r11 ymm0-ymm9. No alignment
; needed; reads exactly data[0, length).
;
; The idea: carry-less products and the crc32 instruction use different parts of a core. A chunk is cut into
; a front part, which is folded as in crc_fold_avx2.inc, and three strands behind it, which crc32 walks side
; by side, as each step waits three cycles for the one before. A turn takes 128 bytes of the first and 40 of
; each strand. At its end the four sums move to the end of the chunk (times x to the number of bits behind
; them) and join. What is left after chunks of two sizes is folded alone.

%include "nh.inc"
%define POLY 0x82F63B78
%define CRC_INSTRUCTION                 ; the CPU's own crc32 has this polynomial: it does the last step
%include "crc_fold_avx2.inc"
CRC_FOLD_AVX2 nh_crc32c_fold_avx2

%define TURN_FOLDED 128
%define TURN_STRAND 40
%define LARGE 128                       ; turns
%define SMALL 16
%define CHUNK(turns) ((turns) * (TURN_FOLDED + 3 * TURN_STRAND))

section .rodata
        align 16
; Factors that move a sum over one, two and three strands. A product of two words of 32 bits stands one
; degree too high, and crc32 multiplies by x^32: hence the exponents.
%macro STRAND_CONSTANTS 2
        CRC_XPOW32 %%one, 8 * TURN_STRAND * %2 - 33
        CRC_XPOW32 %%two, 16 * TURN_STRAND * %2 - 33
        CRC_XPOW32 %%three, 24 * TURN_STRAND * %2 - 33
%1:     dq %%one, %%two, %%three, 0
%endmacro
STRAND_CONSTANTS strands_large, LARGE
STRAND_CONSTANTS strands_small, SMALL

; CHUNK_SUM turns, constants: adds one chunk at rsi to the inverted CRC in edi.
%macro CHUNK_SUM 2
        %assign %%length TURN_STRAND * %1
        vmovd xmm4, edi
        vpxor ymm0, ymm4, [rsi]
        vmovdqu ymm1, [rsi + 32]
        vmovdqu ymm2, [rsi + 64]
        vmovdqu ymm3, [rsi + 96]
        lea r8, [rsi + TURN_FOLDED * %1]
%if %1 >= LARGE
        lea r11, [rsi + CHUNK(%1)]
%endif
        xor eax, eax
        xor ecx, ecx
        xor edi, edi
        ; The first turn's front was loaded above; its strands go with the last turn, after the loop.
        mov r9d, %1 - 1
        align 32
%%turn:
        add rsi, TURN_FOLDED
%if %1 >= LARGE
        prefetcht1 [r11]                ; the next chunk, in order: its strands begin too often for the CPU
        prefetcht1 [r11 + 64]
        prefetcht1 [r11 + 128]
        prefetcht1 [r11 + 192]
        add r11, CHUNK(1)
%endif
        STRAND 0, %%length
        FOLD ymm0, ymm4, ymm9, [rsi]
        STRAND 8, %%length
        FOLD ymm1, ymm5, ymm9, [rsi + 32]
        STRAND 16, %%length
        FOLD ymm2, ymm6, ymm9, [rsi + 64]
        STRAND 24, %%length
        FOLD ymm3, ymm7, ymm9, [rsi + 96]
        STRAND 32, %%length
        add r8, TURN_STRAND
        dec r9d
        jnz %%turn
        STRAND 0, %%length
        STRAND 8, %%length
        STRAND 16, %%length
        STRAND 24, %%length
        STRAND 32, %%length
        lea rsi, [r8 + TURN_STRAND + 2 * %%length]

        vbroadcasti128 ymm4, [fold_768]
        vbroadcasti128 ymm5, [fold_512]
        vbroadcasti128 ymm6, [fold_256]
        vpclmulqdq ymm7, ymm0, ymm4, 0x00
        vpclmulqdq ymm0, ymm0, ymm4, 0x11
        vpxor ymm0, ymm0, ymm7
        FOLD ymm1, ymm8, ymm5, ymm3
        FOLD ymm2, ymm4, ymm6, ymm1
        vpxor ymm0, ymm0, ymm2
        vextracti128 xmm1, ymm0, 1
        vmovdqa xmm3, [fold_128]
        FOLD xmm0, xmm2, xmm3, xmm1
        vmovq r8, xmm0
        vpextrq r9, xmm0, 1
        xor r10d, r10d
        crc32 r10, r8
        crc32 r10, r9                   ; sum of the front
        vmovd xmm0, r10d
        vmovd xmm1, eax
        vmovd xmm2, ecx
        vpclmulqdq xmm0, xmm0, [%2 + 16], 0x00
        vpclmulqdq xmm1, xmm1, [%2], 0x10
        vpclmulqdq xmm2, xmm2, [%2], 0x00
        vpxor xmm0, xmm0, xmm1
        vpxor xmm0, xmm0, xmm2
        vmovq rcx, xmm0
        xor eax, eax
        crc32 rax, rcx
        xor edi, eax                    ; the last strand is where it belongs
%endmacro

; STRAND offset, length of a strand: eight bytes of each.
%macro STRAND 2
        crc32 rax, qword [r8 + %1]
        crc32 rcx, qword [r8 + %1 + %2]
        crc32 rdi, qword [r8 + %1 + 2 * %2]
%endmacro

NH_FUNCTION nh_crc32c_avx2
        cmp rdx, CHUNK(SMALL)
        jae .chunks
        cmp rdx, 16
        jae nh_crc32c_fold_avx2
.short:
        not edi
        mov eax, edi
        test dl, 8
        jz .four
        crc32 rax, qword [rsi]
        add rsi, 8
.four:
        test dl, 4
        jz .two
        crc32 eax, dword [rsi]
        add rsi, 4
.two:
        test dl, 2
        jz .one
        crc32 eax, word [rsi]
        add rsi, 2
.one:
        test dl, 1
        jz .end
        crc32 eax, byte [rsi]
.end:
        not eax
        ret

.chunks:
        not edi
        vbroadcasti128 ymm9, [fold_1024]
        sub rdx, CHUNK(LARGE)
        jb .small
.large_chunk:
        CHUNK_SUM LARGE, strands_large
        sub rdx, CHUNK(LARGE)
        jae .large_chunk
.small:
        add rdx, CHUNK(LARGE) - CHUNK(SMALL)
        jnc .rest                       ; below 0 still
.small_chunk:
        CHUNK_SUM SMALL, strands_small
        sub rdx, CHUNK(SMALL)
        jae .small_chunk
.rest:
        add rdx, CHUNK(SMALL)
        not edi
        vzeroupper
        cmp rdx, 16
        jb .short
        jmp nh_crc32c_fold_avx2
NH_END nh_crc32c_avx2
