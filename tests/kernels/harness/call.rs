//! Calls a raw kernel with poisoned registers and watches what it leaves behind (System V ABI, AMD64).

use std::arch::global_asm;

/// What was found in the registers after a call.
#[repr(C)]
#[derive(Default)]
struct Left {
    /// rbx rbp r12 r13 r14 r15
    saved: [u64; 6],
    flags: u64,
    mxcsr: u64,
    /// How many of the words above the return address kept their value.
    canaries: u64,
    /// XINUSE: which register states are not in their initial configuration.
    in_use: u64,
}

const CANARIES: u64 = 24;

// The poison of the callee-saved registers is POISON + 0 .. POISON + 5, in the order of `Left::saved`.
const POISON: u64 = 0x7e57_ab1e_dead_0000;

global_asm!(
    r#"
    .pushsection .text
    .globl nh_test_watched_call
    .hidden nh_test_watched_call
    .type nh_test_watched_call, @function
nh_test_watched_call:               # rdi = function, rsi = six arguments, rdx = Left, ecx = has XGETBV(1)
    push rbp
    push rbx
    push r12
    push r13
    push r14
    push r15
    sub rsp, 216                    # 24 canaries, three words, and the call is 16-aligned
    mov [rsp + 192], rdx
    mov [rsp + 200], rcx
    mov rax, {canary}
    xor ecx, ecx
2:  mov [rsp + rcx * 8], rax
    inc ecx
    cmp ecx, {canaries}
    jb 2b
    mov rax, rdi
    mov r11, rsi
    mov rdi, [r11]
    mov rsi, [r11 + 8]
    mov rdx, [r11 + 16]
    mov rcx, [r11 + 24]
    mov r8, [r11 + 32]
    mov r9, [r11 + 40]
    mov rbx, {poison}
    lea rbp, [rbx + 1]
    lea r12, [rbx + 2]
    lea r13, [rbx + 3]
    lea r14, [rbx + 4]
    lea r15, [rbx + 5]
    lea r10, [rbx + 6]
    lea r11, [rbx + 7]
    cmp dword ptr [rsp + 200], 0
    je 3f
    vzeroupper
3:  call rax
    mov r11, [rsp + 192]
    mov [r11], rbx
    mov [r11 + 8], rbp
    mov [r11 + 16], r12
    mov [r11 + 24], r13
    mov [r11 + 32], r14
    mov [r11 + 40], r15
    pushfq
    pop qword ptr [r11 + 48]
    cld
    stmxcsr [r11 + 56]
    mov r8, rax
    mov rax, {canary}
    xor ecx, ecx
    xor edx, edx
4:  xor esi, esi
    cmp [rsp + rcx * 8], rax
    sete sil
    add edx, esi
    inc ecx
    cmp ecx, {canaries}
    jb 4b
    mov [r11 + 64], rdx
    cmp dword ptr [rsp + 200], 0
    je 5f
    mov ecx, 1
    xgetbv
    mov [r11 + 72], eax
5:  mov rax, r8
    add rsp, 216
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbx
    pop rbp
    ret
    .size nh_test_watched_call, . - nh_test_watched_call
    .popsection
"#,
    canary = const CANARY,
    canaries = const CANARIES,
    poison = const POISON,
);

const CANARY: u64 = 0x0ddc_0ffe_ecab_ba9e;

unsafe extern "C" {
    fn nh_test_watched_call(
        function: *const (),
        arguments: *const [u64; 6],
        left: *mut Left,
        has_xinuse: u32,
    ) -> u64;
}

/// Bits of the flags register that must be clear on return: the direction flag.
const DIRECTION: u64 = 1 << 10;

/// XINUSE: upper halves of ymm registers; upper halves of zmm0-15 (zmm16-31 stay as they are).
const UPPER_HALVES: u64 = 1 << 2 | 1 << 6;

/// Calls `function` and returns its rax, or what it broke, in words.
///
/// # Safety
/// `function` must be an `extern "C"` function that may be called with these values as its integer
/// arguments; surplus ones are garbage to it.
pub unsafe fn watched(function: *const (), arguments: &[u64]) -> Result<u64, String> {
    let mut all = [0xbad0_bad0_bad0_bad0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    let mut left = Left::default();
    // SAFETY: the caller vouches for function and arguments; `all` and `left` live across the call, and
    // XGETBV with index 1 is used only where CPUID announces it.
    let value = unsafe { nh_test_watched_call(function, &all, &mut left, has_xinuse().into()) };
    for (index, name) in ["rbx", "rbp", "r12", "r13", "r14", "r15"].into_iter().enumerate() {
        if left.saved[index] != POISON + index as u64 {
            return Err(format!("changed {name} to {:#x}", left.saved[index]));
        }
    }
    if left.flags & DIRECTION != 0 {
        return Err("left the direction flag set".into());
    }
    // The default: all exceptions masked, round to nearest. Sticky status bits are the caller's to lose.
    if left.mxcsr as u32 & !0x3f != 0x1f80 {
        return Err(format!("changed mxcsr to {:#x}", left.mxcsr));
    }
    if left.canaries != CANARIES {
        return Err(format!("wrote over {} words of its caller's stack", CANARIES - left.canaries));
    }
    if left.in_use & UPPER_HALVES != 0 {
        return Err(format!("returned without vzeroupper (XINUSE {:#x})", left.in_use));
    }
    Ok(value)
}

/// Whether XGETBV with index 1 exists (CPUID leaf 13, sub-leaf 1, EAX bit 2).
fn has_xinuse() -> bool {
    #[allow(
        unused_unsafe,
        reason = "CPUID became a safe function after the oldest Rust we support"
    )]
    // SAFETY: CPUID exists on every x86-64 CPU; the leaf is read only where the first one says it exists.
    let (osxsave, leaf13) = unsafe {
        let leaf_max = std::arch::x86_64::__cpuid_count(0, 0).eax;
        let osxsave = std::arch::x86_64::__cpuid_count(1, 0).ecx & 1 << 27 != 0;
        let leaf13 = if leaf_max >= 13 { std::arch::x86_64::__cpuid_count(13, 1).eax } else { 0 };
        (osxsave, leaf13)
    };
    osxsave && leaf13 & 1 << 2 != 0
}

// Each of these breaks one rule; a harness that does not notice would prove nothing.
global_asm!(
    r#"
    .pushsection .text
nh_test_good:       mov rax, rdi
                    ret
nh_test_rbx:        xor ebx, ebx
                    ret
nh_test_r15:        inc r15
                    ret
nh_test_direction:  std
                    ret
nh_test_stack:      mov qword ptr [rsp + 40], 0
                    ret
nh_test_rounding:   push 0x5f80
                    ldmxcsr [rsp]
                    pop rax
                    ret
nh_test_restore:    push 0x1f80
                    ldmxcsr [rsp]
                    pop rax
                    ret
nh_test_upper:      vpcmpeqd ymm3, ymm3, ymm3
                    ret
    .popsection
"#
);

unsafe extern "C" {
    fn nh_test_good();
    fn nh_test_rbx();
    fn nh_test_r15();
    fn nh_test_direction();
    fn nh_test_stack();
    fn nh_test_rounding();
    fn nh_test_restore();
    fn nh_test_upper();
}

#[test]
fn the_watch_sees_each_offence() {
    let check = |function: unsafe extern "C" fn(), expected: &str| {
        // SAFETY: these functions take nothing, touch no memory of ours and return.
        let found = unsafe { watched(function as *const (), &[42]) };
        match expected {
            "" => assert_eq!(found, Ok(42)),
            _ => {
                let message = found.expect_err("an offence");
                assert!(message.contains(expected), "{message}");
            }
        }
    };
    check(nh_test_good, "");
    check(nh_test_rbx, "rbx");
    check(nh_test_r15, "r15");
    check(nh_test_direction, "direction");
    check(nh_test_stack, "1 words");
    check(nh_test_rounding, "mxcsr");
    // SAFETY: takes nothing and restores the default rounding mode.
    unsafe { nh_test_restore() };
    if has_xinuse() && is_x86_feature_detected!("avx2") {
        check(nh_test_upper, "vzeroupper");
    }
}
