//! What the probe's vCPU runs, and the memory it finds: bytes and tables, nothing done.
//!
//! The program does what a stock kernel does in its first milliseconds. Each part first notes its number at
//! [`STEP`], so that a KVM that gives up midway tells how far it came.

/// Guest memory, as address and length: what lies in the low 64 KiB, and a page at the start of two large pages.
pub(super) const MEMORY: [(u64, usize); 3] =
    [(0, 0x1_0000), (0x20_0000, 0x1000), (0x40_0000, 0x1000)];
/// Guest-physical address where the program starts.
pub(super) const CODE: u64 = 0x8000;
/// Top of the stack; the TSS lies above it.
pub(super) const STACK: u64 = 0xb000;
/// Where the program notes its part: a little-endian u32.
pub(super) const STEP: u64 = 0x7000;
/// The port that the answer leaves by.
pub(super) const PORT: u16 = 0xf4;
/// The answer of a program that came to its end and found everything right.
pub(super) const GOOD: u32 = 0x600d_600d;

const GDT: u64 = 0x1000;
const IDT: u64 = 0x2000;
/// CR3.
const PML4: u64 = 0x3000;
const PDPT: u64 = 0x4000;
/// Identity map of the first three pages.
const IDENTITY: u64 = 0x5000;
/// Map of 0x4000_0000 and up: the alias page, and an unmapped one beside it.
const ALIAS: u64 = 0x6000;
const GDT_POINTER: u64 = 0x7010;
const IDT_POINTER: u64 = 0x7020;
const BREAKPOINT_HANDLER: u64 = CODE + 0x1e0;
const PAGE_FAULT_HANDLER: u64 = CODE + 0x200;

/// Null, 32-bit code (0x08), data (0x10), 64-bit code (0x18), an available 64-bit TSS at [`STACK`] (0x20).
const DESCRIPTORS: [u64; 6] = [
    0,
    0x00cf_9b00_0000_ffff,
    0x00cf_9300_0000_ffff,
    0x00af_9b00_0000_ffff,
    0x0000_8900_b000_0067,
    0,
];

/// Present and writable.
const TABLE: u64 = 0x3;
/// Present, writable, 2 MiB.
const PAGE: u64 = 0x83;

/// What must stand in guest memory before the program starts: addresses, all multiples of 8, and bytes.
pub(super) fn image() -> Vec<(u64, Vec<u8>)> {
    let words = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let mut idt = [0; 30];
    idt[6..8].copy_from_slice(&gate(BREAKPOINT_HANDLER));
    idt[28..30].copy_from_slice(&gate(PAGE_FAULT_HANDLER));
    vec![
        (GDT, words(&DESCRIPTORS)),
        (IDT, words(&idt)),
        (PML4, words(&[PDPT | TABLE])),
        (PDPT, words(&[IDENTITY | TABLE, ALIAS | TABLE])),
        (IDENTITY, words(&[PAGE, 0x20_0000 | PAGE, 0x40_0000 | PAGE])),
        (ALIAS, words(&[0x20_0000 | PAGE])),
        (GDT_POINTER, pointer(DESCRIPTORS.len(), GDT)),
        (IDT_POINTER, pointer(idt.len(), IDT)),
        (CODE, PROGRAM.to_vec()),
        (BREAKPOINT_HANDLER, ON_BREAKPOINT.to_vec()),
        (PAGE_FAULT_HANDLER, ON_PAGE_FAULT.to_vec()),
    ]
}

/// A 64-bit interrupt gate into the 64-bit code segment (Intel SDM 3A, 6.14.1).
fn gate(handler: u64) -> [u64; 2] {
    let low = (handler & 0xffff) | (0x18 << 16) | (0x8e00 << 32) | ((handler >> 16 & 0xffff) << 48);
    [low, handler >> 32]
}

/// The operand of `lgdt` and `lidt` for a table of `words` eight-byte words.
fn pointer(words: usize, base: u64) -> Vec<u8> {
    let limit = (words * 8 - 1) as u64;
    [&limit.to_le_bytes()[..2], &base.to_le_bytes()[..]].concat()
}

/// What the vCPU runs, from [`CODE`] on: 32-bit at first, then 64-bit.
#[rustfmt::skip]
const PROGRAM: &[u8] = &[
    // 32-bit, no paging: the way into long mode, as a kernel's `startup_32` goes it.
    0xc7, 0x05, 0x00, 0x70, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00,              // mov [STEP],0x1
    0x0f, 0x01, 0x15, 0x10, 0x70, 0x00, 0x00,                                // lgdt [0x7010]
    0x0f, 0x20, 0xe0,                                                        // mov eax,cr4
    0x0d, 0xa0, 0x06, 0x00, 0x00,                                            // or eax,0x6a0
    0x0f, 0x22, 0xe0,                                                        // mov cr4,eax
    0xb8, 0x00, 0x30, 0x00, 0x00,                                            // mov eax,0x3000
    0x0f, 0x22, 0xd8,                                                        // mov cr3,eax
    0xb9, 0x80, 0x00, 0x00, 0xc0,                                            // mov ecx,0xc0000080
    0x0f, 0x32,                                                              // rdmsr
    0x0d, 0x01, 0x01, 0x00, 0x00,                                            // or eax,0x101
    0x0f, 0x30,                                                              // wrmsr
    0x0f, 0x20, 0xc0,                                                        // mov eax,cr0
    0x0d, 0x03, 0x00, 0x01, 0x80,                                            // or eax,0x80010003
    0x0f, 0x22, 0xc0,                                                        // mov cr0,eax
    0xea, 0x44, 0x80, 0x00, 0x00, 0x18, 0x00,                                // jmp 0x18:0x8044
    // 64-bit: flat segments, a stack, a far return.
    0xb8, 0x10, 0x00, 0x00, 0x00,                                            // mov eax,0x10
    0x8e, 0xd8,                                                              // mov ds,eax
    0x8e, 0xc0,                                                              // mov es,eax
    0x8e, 0xd0,                                                              // mov ss,eax
    0xbc, 0x00, 0xb0, 0x00, 0x00,                                            // mov esp,0xb000
    0x6a, 0x18,                                                              // push 0x18
    0x48, 0x8d, 0x05, 0x03, 0x00, 0x00, 0x00,                                // lea rax,[rip+0x3]
    0x50,                                                                    // push rax
    0x48, 0xcb,                                                              // retfq
    // Paging: write through the alias, read it back at the identity address; reload CR3;
    0xc7, 0x04, 0x25, 0x00, 0x70, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00,        // mov [STEP],0x2
    0x48, 0xb8, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11,              // movabs rax,0x1122334455667788
    0xbb, 0x00, 0x00, 0x00, 0x40,                                            // mov ebx,0x40000000
    0x48, 0x89, 0x03,                                                        // mov [rbx],rax
    0x48, 0x39, 0x04, 0x25, 0x00, 0x00, 0x20, 0x00,                          // cmp [0x200000],rax
    0x0f, 0x85, 0x01, 0x01, 0x00, 0x00,                                      // jne 18c
    0x0f, 0x20, 0xd9,                                                        // mov rcx,cr3
    0x0f, 0x22, 0xd9,                                                        // mov cr3,rcx
    // point the alias elsewhere, `invlpg`, and look again; flush by toggling CR4.PGE.
    0x48, 0xc7, 0x04, 0x25, 0x00, 0x60, 0x00, 0x00, 0x83, 0x00, 0x40, 0x00,  // mov [ALIAS],0x400083
    0x0f, 0x01, 0x3b,                                                        // invlpg [rbx]
    0x48, 0xf7, 0xd0,                                                        // not rax
    0x48, 0x89, 0x03,                                                        // mov [rbx],rax
    0x48, 0x39, 0x04, 0x25, 0x00, 0x00, 0x40, 0x00,                          // cmp [0x400000],rax
    0x0f, 0x85, 0xd8, 0x00, 0x00, 0x00,                                      // jne 18c
    0x0f, 0x20, 0xe1,                                                        // mov rcx,cr4
    0x48, 0x81, 0xf1, 0x80, 0x00, 0x00, 0x00,                                // xor rcx,0x80
    0x0f, 0x22, 0xe1,                                                        // mov cr4,rcx
    0x48, 0x81, 0xf1, 0x80, 0x00, 0x00, 0x00,                                // xor rcx,0x80
    0x0f, 0x22, 0xe1,                                                        // mov cr4,rcx
    // Exceptions: IDT and TSS, a breakpoint, then a page fault whose handler maps the page.
    0xc7, 0x04, 0x25, 0x00, 0x70, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00,        // mov [STEP],0x3
    0x0f, 0x01, 0x1c, 0x25, 0x20, 0x70, 0x00, 0x00,                          // lidt [0x7020]
    0xb8, 0x20, 0x00, 0x00, 0x00,                                            // mov eax,0x20
    0x0f, 0x00, 0xd8,                                                        // ltr ax
    0xcc,                                                                    // int3
    0x83, 0x3c, 0x25, 0x08, 0x70, 0x00, 0x00, 0x01,                          // cmp [BREAKS],0x1
    0x0f, 0x85, 0x97, 0x00, 0x00, 0x00,                                      // jne 18c
    0xbb, 0x00, 0x00, 0x20, 0x40,                                            // mov ebx,0x40200000
    0x48, 0x89, 0x03,                                                        // mov [rbx],rax
    0x48, 0x39, 0x04, 0x25, 0x00, 0x00, 0x20, 0x00,                          // cmp [0x200000],rax
    0x0f, 0x85, 0x81, 0x00, 0x00, 0x00,                                      // jne 18c
    // System registers: CPUID, GS base, `swapgs`, LSTAR, PAT.
    0xc7, 0x04, 0x25, 0x00, 0x70, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00,        // mov [STEP],0x4
    0x31, 0xc0,                                                              // xor eax,eax
    0x0f, 0xa2,                                                              // cpuid
    0x85, 0xc0,                                                              // test eax,eax
    0x74, 0x6e,                                                              // je 18c
    0xb9, 0x01, 0x01, 0x00, 0xc0,                                            // mov ecx,0xc0000101
    0xb8, 0x00, 0x70, 0x00, 0x00,                                            // mov eax,0x7000
    0x31, 0xd2,                                                              // xor edx,edx
    0x0f, 0x30,                                                              // wrmsr
    0x65, 0x83, 0x3c, 0x25, 0x00, 0x00, 0x00, 0x00, 0x04,                    // cmp gs:[0],0x4
    0x75, 0x55,                                                              // jne 18c
    0x0f, 0x01, 0xf8,                                                        // swapgs
    0x0f, 0x01, 0xf8,                                                        // swapgs
    0xb9, 0x82, 0x00, 0x00, 0xc0,                                            // mov ecx,0xc0000082
    0xb8, 0x00, 0x80, 0x00, 0x00,                                            // mov eax,0x8000
    0x31, 0xd2,                                                              // xor edx,edx
    0x0f, 0x30,                                                              // wrmsr
    0x0f, 0x32,                                                              // rdmsr
    0x3d, 0x00, 0x80, 0x00, 0x00,                                            // cmp eax,0x8000
    0x75, 0x38,                                                              // jne 18c
    0xb9, 0x77, 0x02, 0x00, 0x00,                                            // mov ecx,0x277
    0x0f, 0x32,                                                              // rdmsr
    0x0f, 0x30,                                                              // wrmsr
    // FPU and SSE state, as a kernel saves and restores it.
    0xc7, 0x04, 0x25, 0x00, 0x70, 0x00, 0x00, 0x05, 0x00, 0x00, 0x00,        // mov [STEP],0x5
    0x0f, 0x06,                                                              // clts
    0xdb, 0xe3,                                                              // fninit
    0xb8, 0x00, 0x90, 0x00, 0x00,                                            // mov eax,0x9000
    0x48, 0x0f, 0xae, 0x00,                                                  // fxsave64 [rax]
    0x48, 0x0f, 0xae, 0x08,                                                  // fxrstor64 [rax]
    0x0f, 0x10, 0x00,                                                        // movups xmm0,[rax]
    0x0f, 0x11, 0x80, 0x00, 0x02, 0x00, 0x00,                                // movups [rax+0x200],xmm0
    0x0f, 0x31,                                                              // rdtsc
    0xb8, 0x0d, 0x60, 0x0d, 0x60,                                            // mov eax,0x600d600d
    0xeb, 0x05,                                                              // jmp 191
    // A wrong answer anywhere lands here.
    0xb8, 0xad, 0x0b, 0xad, 0x0b,                                            // mov eax,0xbad0bad
    // The answer leaves by an I/O port.
    0xba, 0xf4, 0x00, 0x00, 0x00,                                            // mov edx,0xf4
    0xef,                                                                    // out dx,eax
    0xf4,                                                                    // hlt
    0xeb, 0xfd,                                                              // jmp 197
];

/// `#BP`: counts.
#[rustfmt::skip]
const ON_BREAKPOINT: &[u8] = &[
    0xff, 0x04, 0x25, 0x08, 0x70, 0x00, 0x00,                                // inc [BREAKS]
    0x48, 0xcf,                                                              // iretq
];

/// `#PF`: maps the second alias page and lets the access run again.
#[rustfmt::skip]
const ON_PAGE_FAULT: &[u8] = &[
    0x51,                                                                    // push rcx
    0x0f, 0x20, 0xd1,                                                        // mov rcx,cr2
    0x48, 0x81, 0xf9, 0x00, 0x00, 0x20, 0x40,                                // cmp rcx,0x40200000
    0x0f, 0x85, 0x7b, 0xff, 0xff, 0xff,                                      // jne 18c
    0x48, 0xc7, 0x04, 0x25, 0x08, 0x60, 0x00, 0x00, 0x83, 0x00, 0x20, 0x00,  // mov [ALIAS+8],0x200083
    0x59,                                                                    // pop rcx
    0x48, 0x83, 0xc4, 0x08,                                                  // add rsp,0x8
    0x48, 0xcf,                                                              // iretq
];
