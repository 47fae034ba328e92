; Escapes the inside of a JSON string, 32 bytes a turn.
;
; uint8_t *nh_json_escape_avx2(const uint8_t *data, size_t blocks, uint8_t *out)
;   rdi = data, rsi = blocks of 32 bytes (at least 1), followed by 32 readable bytes,
;   rdx = room for 192 bytes a block and 32 more
;   rax = one behind the last byte written; the 32 bytes from there on may hold garbage
; Needs AVX2 and BMI1. Clobbers rdi rsi rdx rax rcx r8-r10 ymm0-ymm5.
;
; The idea: a block is stored before it is known to be plain; nearly always it is. Otherwise each stretch
; between two bytes to escape is stored whole, 32 bytes wide, and the next store covers what was too much.
; An escape is eight bytes of a table: at most six that count, and their number in the last.

%include "nh.inc"

section .rodata
        align 64
; Escapes of what is below 0x60: quote, backslash and control characters.
escapes:
%assign code 0
%rep 0x60
        %if code == 8
                db "\b", 0, 0, 0, 0, 0, 2
        %elif code == 9
                db "\t", 0, 0, 0, 0, 0, 2
        %elif code == 10
                db "\n", 0, 0, 0, 0, 0, 2
        %elif code == 12
                db "\f", 0, 0, 0, 0, 0, 2
        %elif code == 13
                db "\r", 0, 0, 0, 0, 0, 2
        %elif code == 0x22 || code == 0x5c
                db "\", code, 0, 0, 0, 0, 0, 2
        %elif code < 0x20
                %assign digit (code & 15) + '0' + ((code & 15) / 10) * ('a' - '9' - 1)
                db "\u00", '0' + code / 16, digit, 0, 6
        %else
                dq 0
        %endif
        %assign code code + 1
%endrep

NH_FUNCTION nh_json_escape_avx2
        mov eax, 0x5c
        vmovd xmm3, eax
        vpbroadcastb ymm3, xmm3         ; backslash
        mov eax, 0x22
        vmovd xmm4, eax
        vpbroadcastb ymm4, xmm4         ; quote
        mov eax, 0x1f
        vmovd xmm5, eax
        vpbroadcastb ymm5, xmm5         ; the highest control character
        lea r8, [escapes]

        align 32
.block:
        vmovdqu ymm0, [rdi]
        vpcmpeqb ymm1, ymm0, ymm3
        vpcmpeqb ymm2, ymm0, ymm4
        vpor ymm1, ymm1, ymm2
        vpminub ymm2, ymm0, ymm5
        vpcmpeqb ymm2, ymm2, ymm0
        vpor ymm1, ymm1, ymm2
        vmovdqu [rdx], ymm0
        vpmovmskb eax, ymm1
        test eax, eax
        jnz .escape
        add rdx, 32
        add rdi, 32
        dec rsi
        jnz .block
        jmp .end

        align 16
.escape:
        xor r9d, r9d                    ; where the stretch begins
.stretch:
        tzcnt ecx, eax
        vmovdqu ymm0, [rdi + r9]
        vmovdqu [rdx], ymm0
        sub rdx, r9
        add rdx, rcx
        movzx r10d, byte [rdi + rcx]
        mov r10, [r8 + r10 * 8]
        mov [rdx], r10
        shr r10, 56
        add rdx, r10
        lea r9d, [rcx + 1]
        blsr eax, eax
        jnz .stretch
        vmovdqu ymm0, [rdi + r9]        ; what follows the last one
        vmovdqu [rdx], ymm0
        sub rdx, r9
        add rdx, 32
        add rdi, 32
        dec rsi
        jnz .block
.end:
        mov rax, rdx
        vzeroupper
        ret
NH_END nh_json_escape_avx2
