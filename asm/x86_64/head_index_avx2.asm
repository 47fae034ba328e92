; Index of an HTTP header section: where names end and lines end, 64 bytes a turn.
;
; size_t nh_head_index_avx2(const uint8_t *data, size_t length, uint32_t *out, size_t room, uint32_t first)
;   rdi = data, the beginning of a line; rsi = length (at least 64); rdx = room for rcx marks (at least 64);
;   r8d = the position of the first byte
;   rax = how many marks were written, ascending; the entries behind them may hold garbage
; The marks: in each line the first byte that is not usual in a name, each control byte but HTAB and LF, and
; each LF that follows no such byte. They end with that of the first line that begins with a control byte, as the
; blank line does, with the data, or before a turn for whose marks there might be no room. Reads exactly the data,
; at any alignment. Needs AVX2, BMI1, BMI2 and POPCNT. Clobbers rax rcx rdx rsi rdi r8-r11 and ymm0-ymm15.
;
; The idea: two nibble tables sort all bytes into usual in names, control, and neither. A name is a series
; of ones that begins where a line does; adding a one there carries along the series and comes out at the
; first byte behind it, in all lines of a block at once and across blocks. What is marked is not judged:
; the caller looks at the byte behind each mark, which it has to load anyway.
; The last turn takes the last 64 bytes and shifts out those that were seen.

%include "nh.inc"

section .rodata
        align 32
; Entries of both tables at the two nibbles of a byte share a bit when it is: usual in names (bits 0-4:
; tchar of RFC 9110 but the vertical bar), a control byte (bits 5-7: all but HTAB). DEL is one of them.
low:
        times 2 db 0x21, 0x35, 0x25, 0x35, 0x35, 0x35, 0x35, 0x35, 0x25, 0x85, 0x32, 0x34, 0x24, 0x34, 0x32, 0x6c
high:
        times 2 db 0x20, 0xa0, 0x12, 0x01, 0x06, 0x0b, 0x07, 0x43, 0, 0, 0, 0, 0, 0, 0, 0
low_nibbles:
        times 32 db 0x0f
is_control:                             ; carries bits 5-7 into bit 7
        times 32 db 0x60
is_any:                                 ; carries any bit into bit 7
        times 32 db 0x7f
line_feed:
        times 32 db 10

; MASK result, scratch, low, high: the high bits of two vectors of bytes as 64 bits.
%macro MASK 4
        vpmovmskb %1d, %3
        vpmovmskb %2d, %4
        shl %2, 32
        or %1, %2
%endmacro
%define rbxd ebx
%define rbpd ebp
%define raxd eax

NH_FUNCTION nh_head_index_avx2, rbx, rbp, r12, r13, r14, r15
        lea rcx, [rdx + rcx * 4 - 64 * 4] ; behind here a turn's marks might not fit
        mov r12, rdx
        mov r9d, 1                      ; a line begins with the block
        xor r10d, r10d                  ; a name goes on in the block
        xor r14d, r14d                  ; the last byte was a control byte
        xor r13d, r13d                  ; how many bytes of the block were seen before
        vmovdqa ymm15, [low]
        vmovdqa ymm14, [high]
        vmovdqa ymm13, [low_nibbles]
        vmovdqa ymm12, [is_control]
        vmovdqa ymm11, [is_any]
        vmovdqa ymm10, [line_feed]

        align 32
.block:
        cmp rdx, rcx
        ja .end
        vmovdqu ymm0, [rdi]
        vmovdqu ymm1, [rdi + 32]
        vpsrlw ymm4, ymm0, 4
        vpsrlw ymm5, ymm1, 4
        vpand ymm4, ymm4, ymm13
        vpand ymm5, ymm5, ymm13
        vpshufb ymm2, ymm15, ymm0       ; 0 beyond ASCII
        vpshufb ymm3, ymm15, ymm1
        vpshufb ymm4, ymm14, ymm4
        vpshufb ymm5, ymm14, ymm5
        vpand ymm2, ymm2, ymm4
        vpand ymm3, ymm3, ymm5
        vpcmpeqb ymm8, ymm0, ymm10
        vpcmpeqb ymm9, ymm1, ymm10
        vpaddusb ymm4, ymm2, ymm12
        vpaddusb ymm5, ymm3, ymm12
        vpaddusb ymm6, ymm2, ymm11
        vpaddusb ymm7, ymm3, ymm11
        MASK r11, rbp, ymm8, ymm9       ; line feeds
        MASK rax, rbp, ymm4, ymm5       ; control bytes
        MASK rbx, rbp, ymm6, ymm7       ; those and bytes of names
        shrx r11, r11, r13
        shrx rax, rax, r13
        shrx rbx, rbx, r13

        andn rbx, rax, rbx              ; bytes of names
        andn rax, r11, rax              ; control bytes but line feeds
        lea rbp, [r11 * 2 + r9]         ; first bytes of lines
        mov r15, r11
        mov r9, r11
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
        and rbp, rax                    ; lines that begin with a control byte
        jnz .blank
.marks:
        mov rax, -1
        shrx rax, rax, r13
        and r11, rax                    ; a name that the data cut off ends nowhere
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
        jbe .end
        cmp rsi, 64
        jae .block
        mov r13d, 64
        sub r13d, esi
        sub rdi, r13
        jmp .block

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
NH_END nh_head_index_avx2
