; Structural index of JSON, and the verdict on its strings, 64 bytes a turn.
;
; uint32_t *nh_json_index_avx2(const uint8_t *data, size_t blocks, uint32_t *out, struct state *state)
;   rdi = data, rsi = whole blocks of 64 bytes (at least 1), rdx = room for 64 * blocks + 8 positions,
;   rcx = state: what is carried from call to call, below
;   rax = one behind the last position written; the eight entries from there on may hold garbage
; Positions count from `data`. Reads exactly the blocks, at any alignment.
; Needs AVX2, PCLMULQDQ, BMI1 and POPCNT. Clobbers all of rax rdx rsi rdi r8-r11
; and ymm0-ymm15.
;
; The idea (after Langdale and Lemire, "Parsing Gigabytes of JSON per Second"): comparisons become masks
; of 64 bits. An odd run of backslashes escapes what follows; quotes that are not escaped, summed up modulo
; 2 by a carry-less product with all ones, mark the insides of strings; operators and the first bytes of
; other words outside strings are the structure. Three things are ours: a block that lies in a string and
; holds no quote, the usual one in a prompt, stops after one test; escapes are judged in the same pass;
; and so are control characters.
; An index never holds a closing quote: it is the last byte before the next entry that is not a blank.

%include "nh.inc"
%include "json_marks.inc"

%define STATE_IN_STRING 0               ; 0, or all ones: the next byte lies in a string
%define STATE_ESCAPED 8                 ; 0 or 1: the next byte is escaped
%define STATE_SCALAR 16                 ; 0 or 1: the last byte belongs to a word that is no string
%define STATE_BAD 24                    ; not 0: a control character in a string or an unknown escape
%define STATE_UNICODE 32                ; where the position of the next escaped `u` goes; 32 a block at most

section .rodata
        align 32
; What may follow a backslash: entries of both tables at its two nibbles share a bit. Bit 7: it is `u`.
escape_low:
        times 2 db 0, 0, 0x0d, 0, 0x08, 0x80, 0x04, 0, 0, 0, 0, 0, 0x02, 0, 0x04, 0x01
escape_high:
        times 2 db 0, 0, 0x01, 0, 0, 0x02, 0x04, 0x88, 0, 0, 0, 0, 0, 0, 0, 0
low_nibbles:
        times 32 db 0x0f
; A blank is equal to the entry at its low nibble; no byte equals 0xff at its own (pshufb gives 0 for it).
blanks:
        times 2 db ' ', -1, -1, -1, -1, -1, -1, -1, -1, 9, 10, -1, -1, 13, -1, -1
; An operator with bit 5 set is equal to the entry at its low nibble; so are two control characters.
operators:
        times 2 db -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, ':', '{', ',', '}', -1, -1

; MASK result, scratch, low, high: two vectors of comparisons to 64 bits.
%macro MASK 4
        vpmovmskb %1d, %3
        vpmovmskb %2d, %4
        shl %2, 32
        or %1, %2
%endmacro
%define rbxd ebx
%define rbpd ebp
%define raxd eax

NH_FUNCTION nh_json_index_avx2, rbx, rbp, r12, r13, r14, r15
        mov r9, [rcx + STATE_IN_STRING]
        mov r8, [rcx + STATE_ESCAPED]
        mov r10, [rcx + STATE_SCALAR]
        xor r11d, r11d                  ; position of the block
        mov r15, 0xaaaaaaaaaaaaaaaa
        mov eax, 0x5c
        vmovd xmm15, eax
        vpbroadcastb ymm15, xmm15       ; backslash
        mov eax, 0x22
        vmovd xmm14, eax
        vpbroadcastb ymm14, xmm14       ; quote
        mov eax, 0x1f
        vmovd xmm13, eax
        vpbroadcastb ymm13, xmm13       ; the highest control character
        vmovdqa ymm12, [blanks]
        vmovdqa ymm11, [operators]
        mov eax, 0x20
        vmovd xmm10, eax
        vpbroadcastb ymm10, xmm10
        vpcmpeqb xmm9, xmm9, xmm9
        vmovdqa ymm8, [escape_low]

        align 32
.block:
        vmovdqu ymm0, [rdi]
        vmovdqu ymm1, [rdi + 32]
        vpcmpeqb ymm2, ymm0, ymm15
        vpcmpeqb ymm3, ymm1, ymm15
        vpcmpeqb ymm4, ymm0, ymm14
        vpcmpeqb ymm5, ymm1, ymm14
        vpminub ymm6, ymm0, ymm13
        vpminub ymm7, ymm1, ymm13
        vpcmpeqb ymm6, ymm6, ymm0
        vpcmpeqb ymm7, ymm7, ymm1
        MASK rax, rbx, ymm2, ymm3       ; backslashes
        MASK r12, rbx, ymm4, ymm5       ; quotes
        MASK r13, rbx, ymm6, ymm7       ; control characters
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

        vpsrlw ymm2, ymm0, 4
        vpsrlw ymm3, ymm1, 4
        vpand ymm2, ymm2, [low_nibbles]
        vpand ymm3, ymm3, [low_nibbles]
        vmovdqa ymm7, [escape_high]
        vpshufb ymm2, ymm7, ymm2
        vpshufb ymm3, ymm7, ymm3
        vpshufb ymm4, ymm8, ymm0
        vpshufb ymm5, ymm8, ymm1
        vpand ymm2, ymm2, ymm4
        vpand ymm3, ymm3, ymm5
        vpxor xmm6, xmm6, xmm6
        vpcmpeqb ymm4, ymm2, ymm6
        vpcmpeqb ymm5, ymm3, ymm6
        MASK rax, rbp, ymm4, ymm5       ; what may not follow a backslash
        MASK r14, rbp, ymm2, ymm3       ; u
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
        vpshufb ymm2, ymm12, ymm0
        vpshufb ymm3, ymm12, ymm1
        vpcmpeqb ymm2, ymm2, ymm0
        vpcmpeqb ymm3, ymm3, ymm1
        MASK rax, rbx, ymm2, ymm3       ; blanks
        vpshufb ymm2, ymm11, ymm0
        vpshufb ymm3, ymm11, ymm1
        vpor ymm4, ymm0, ymm10
        vpor ymm5, ymm1, ymm10
        vpcmpeqb ymm2, ymm2, ymm4
        vpcmpeqb ymm3, ymm3, ymm5
        MASK r14, rbx, ymm2, ymm3
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
NH_END nh_json_index_avx2
