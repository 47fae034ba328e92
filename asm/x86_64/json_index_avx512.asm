; Structural index of JSON, and the verdict on its strings, 64 bytes a turn.
;
; uint32_t *nh_json_index_avx512(const uint8_t *data, size_t blocks, uint32_t *out, struct state *state)
; Contract and idea: json_index_avx2.asm. Here a comparison is a mask at once. Needs AVX-512 F and BW,
; PCLMULQDQ, BMI1 and POPCNT. Clobbers rax rdx rsi rdi r8-r11, k1-k3 and zmm0-zmm15.

%include "nh.inc"
%include "json_marks.inc"

%define STATE_IN_STRING 0               ; 0, or all ones: the next byte lies in a string
%define STATE_ESCAPED 8                 ; 0 or 1: the next byte is escaped
%define STATE_SCALAR 16                 ; 0 or 1: the last byte belongs to a word that is no string
%define STATE_BAD 24                    ; not 0: a control character in a string or an unknown escape
%define STATE_UNICODE 32                ; where the position of the next escaped `u` goes; 32 a block at most

section .rodata
        align 64
; What may follow a backslash: entries of both tables at its two nibbles share a bit. Bit 7: it is `u`.
escape_low:
        times 4 db 0, 0, 0x0d, 0, 0x08, 0x80, 0x04, 0, 0, 0, 0, 0, 0x02, 0, 0x04, 0x01
escape_high:
        times 4 db 0, 0, 0x01, 0, 0, 0x02, 0x04, 0x88, 0, 0, 0, 0, 0, 0, 0, 0
; A blank is equal to the entry at its low nibble; no byte equals 0xff at its own (pshufb gives 0 for it).
blanks:
        times 4 db ' ', -1, -1, -1, -1, -1, -1, -1, -1, 9, 10, -1, -1, 13, -1, -1
; An operator with bit 5 set is equal to the entry at its low nibble; so are two control characters.
operators:
        times 4 db -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, ':', '{', ',', '}', -1, -1

NH_FUNCTION nh_json_index_avx512, rbx, rbp, r12, r13, r14, r15
        mov r9, [rcx + STATE_IN_STRING]
        mov r8, [rcx + STATE_ESCAPED]
        mov r10, [rcx + STATE_SCALAR]
        xor r11d, r11d                  ; position of the block
        mov r15, 0xaaaaaaaaaaaaaaaa
        mov eax, 0x5c5c5c5c
        vpbroadcastd zmm15, eax         ; backslash
        mov eax, 0x22222222
        vpbroadcastd zmm14, eax         ; quote
        mov eax, 0x1f1f1f1f
        vpbroadcastd zmm13, eax         ; the highest control character
        vmovdqa64 zmm12, [blanks]
        vmovdqa64 zmm11, [operators]
        mov eax, 0x20202020
        vpbroadcastd zmm10, eax
        vpcmpeqb xmm9, xmm9, xmm9
        vmovdqa64 zmm8, [escape_low]
        vmovdqa64 zmm7, [escape_high]
        mov eax, 0x0f0f0f0f
        vpbroadcastd zmm5, eax

        align 32
.block:
        vmovdqu8 zmm0, [rdi]
        vpcmpeqb k1, zmm0, zmm15
        vpcmpeqb k2, zmm0, zmm14
        vpcmpub k3, zmm0, zmm13, 2      ; less or equal
        kmovq rax, k1                   ; backslashes
        kmovq r12, k2                   ; quotes
        kmovq r13, k3                   ; control characters
        mov rbx, r8                     ; escaped from the block before
        or r8, rax
        jz .unescaped                   ; and stays 0

        andn rbp, rbx, rax              ; a backslash that is escaped itself begins nothing
        lea r14, [rbp + rbp]
        or r14, r15
        sub r14, rbp                    ; the carry runs along each series of backslashes
        xor r14, r15                    ; what begins an escape, and what ends a series of them
        or rbx, rax
        xor rbx, r14                    ; escaped bytes
        mov r8, r14
        and r8, rax
        shr r8, 63                      ; a last backslash that escapes the next block's first byte
        andn r12, rbx, r12              ; quotes that count

        vpsrlw zmm2, zmm0, 4
        vpandd zmm2, zmm2, zmm5
        vpshufb zmm2, zmm7, zmm2
        vpshufb zmm4, zmm8, zmm0
        vptestnmb k1, zmm2, zmm4
        vpandd zmm2, zmm2, zmm4
        vpmovb2m k2, zmm2
        kmovq rax, k1                   ; what may not follow a backslash
        kmovq r14, k2                   ; u
        and rax, rbx
        or [rcx + STATE_BAD], rax
        and r14, rbx
        jz .unescaped
        mov rax, [rcx + STATE_UNICODE]
.unicode:
        tzcnt rbp, r14
        add ebp, r11d
        mov [rax], ebp
        add rax, 4
        blsr r14, r14
        jnz .unicode
        mov [rcx + STATE_UNICODE], rax

.unescaped:
        test r12, r12
        jnz .structure
        test r9, r9
        jz .structure
        test r13, r13                   ; nothing but text here
        jz .next
        or [rcx + STATE_BAD], r13
        jmp .next

        align 16
.structure:
        vmovq xmm6, r12
        vpclmulqdq xmm6, xmm6, xmm9, 0
        vpshufb zmm2, zmm12, zmm0
        vpshufb zmm3, zmm11, zmm0
        vpord zmm4, zmm0, zmm10
        vpcmpeqb k1, zmm2, zmm0
        vpcmpeqb k2, zmm3, zmm4
        kmovq rax, k1                   ; blanks
        kmovq r14, k2
        vmovq rbp, xmm6
        xor rbp, r9                     ; opening quotes and the insides of strings
        mov r9, rbp
        sar r9, 63
        andn r14, r13, r14              ; operators
        and r13, rbp
        or [rcx + STATE_BAD], r13       ; control characters in strings
        xor rbp, r12                    ; insides and closing quotes
        or rax, r14                     ; blanks and operators
        or r12, rax
        not r12                         ; words that are no strings
        lea rbx, [r12 + r12]
        or rbx, r10                     ; bytes that follow such a byte
        mov r10, r12
        shr r10, 63
        or rax, rbx
        not rax                         ; first bytes of words, opening quotes
        or rax, r14
        andn rbp, rbp, rax              ; the structure
        jz .next

        WRITE_MARKS

.next:
        add rdi, 64
        add r11d, 64
        dec rsi
        jnz .block

        mov [rcx + STATE_IN_STRING], r9
        mov [rcx + STATE_ESCAPED], r8
        mov [rcx + STATE_SCALAR], r10
        mov rax, rdx
        vzeroupper
NH_END nh_json_index_avx512
