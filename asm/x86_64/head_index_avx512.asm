; Index of an HTTP header section: where names end and lines end, 64 bytes a turn.
;
; size_t nh_head_index_avx512(const uint8_t *data, size_t length, uint32_t *out, size_t room)
; Contract and idea: head_index_avx2.asm. Here a comparison is a mask at once, and the last turn loads what is
; left with a mask. Needs AVX-512 F and BW, BMI1, BMI2 and POPCNT; length may be anything but 0. Clobbers rax rcx rdx rsi rdi r8-r11, k1-k4 and zmm0-zmm15.

%include "nh.inc"

section .rodata
        align 64
; As in head_index_avx2.asm.
low:
        times 4 db 0x21, 0x35, 0x25, 0x35, 0x35, 0x35, 0x35, 0x35, 0x25, 0x85, 0x32, 0x34, 0x24, 0x34, 0x32, 0x6c
high:
        times 4 db 0x20, 0xa0, 0x12, 0x01, 0x06, 0x0b, 0x07, 0x43, 0, 0, 0, 0, 0, 0, 0, 0

NH_FUNCTION nh_head_index_avx512, rbx, rbp, r12, r13, r14, r15
        lea rcx, [rdx + rcx * 4 - 64 * 4] ; behind here a turn's marks might not fit
        mov r12, rdx
        xor r8d, r8d                    ; position of the block
        mov r9d, 1                      ; a line begins with the block
        xor r10d, r10d                  ; a name goes on in the block
        xor r14d, r14d                  ; the last byte was a control byte
        vmovdqa64 zmm15, [low]
        vmovdqa64 zmm14, [high]
        mov eax, 0x0f0f0f0f
        vpbroadcastd zmm13, eax
        mov eax, 0xe0e0e0e0             ; the bits of control bytes
        vpbroadcastd zmm12, eax
        mov eax, 0x1f1f1f1f             ; the bits of bytes usual in names
        vpbroadcastd zmm11, eax
        mov eax, 0x0a0a0a0a
        vpbroadcastd zmm10, eax

        align 32
.block:
        cmp rdx, rcx
        ja .end
        cmp rsi, 64
        jb .last
        vmovdqu8 zmm0, [rdi]
        mov r13, -1                     ; the bytes that are there
.loaded:
        vpsrlw zmm4, zmm0, 4
        vpandd zmm4, zmm4, zmm13
        vpshufb zmm2, zmm15, zmm0       ; 0 beyond ASCII
        vpshufb zmm4, zmm14, zmm4
        vpandd zmm2, zmm2, zmm4
        vpcmpeqb k1, zmm0, zmm10
        vptestmb k2, zmm2, zmm12
        vptestmb k3, zmm2, zmm11
        kmovq r15, k1                   ; line feeds
        kmovq rax, k2                   ; control bytes; zeros behind the end are some
        kmovq rbx, k3                   ; bytes of names
        and rax, r13
        andn rax, r15, rax              ; control bytes but line feeds

        lea rbp, [r15 * 2 + r9]         ; first bytes of lines
        mov r9, r15
        shr r9, 63
        add r10d, -1                    ; the carry of the block before
        mov r11, rbx
        adc r11, rbp
        sbb r10d, r10d
        neg r10d
        andn rbx, rbx, r11              ; first bytes behind names
        lea r11, [rax * 2 + r14]
        mov r14, rax
        shr r14, 63
        or rbx, rax
        andn r11, r11, r15              ; line feeds that follow no control byte
        or r11, rbx
        and r11, r13                    ; a name that the data cut off ends nowhere
        and rbp, rax                    ; lines that begin with a control byte
        jnz .blank
.marks:
        test r11, r11
        jz .next
        popcnt rbx, r11
        %assign i 0
        %rep 4
                tzcnt rax, r11
                add eax, r8d
                mov [rdx + 4 * i], eax
                blsr r11, r11
                %assign i i + 1
        %endrep
        cmp ebx, 4
        ja .dense
.written:
        lea rdx, [rdx + rbx * 4]

.next:
        add r8d, 64
        add rdi, 64
        sub rsi, 64
        ja .block
        jmp .end

.last:
        mov r13, -1
        bzhi r13, r13, rsi
        kmovq k1, r13
        vmovdqu8 zmm0{k1}{z}, [rdi]
        jmp .loaded

.dense:
        lea rbp, [rdx + 16]
.one:
        tzcnt rax, r11
        add eax, r8d
        mov [rbp], eax
        add rbp, 4
        blsr r11, r11
        jnz .one
        jmp .written

.blank:
        blsmsk rbp, rbp                 ; up to the first one
        and r11, rbp
        xor esi, esi
        jmp .marks

.end:
        mov rax, rdx
        sub rax, r12
        shr rax, 2
        vzeroupper
NH_END nh_head_index_avx512
