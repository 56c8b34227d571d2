//! What an operating system's library would provide.

use core::alloc::{GlobalAlloc, Layout};
use core::arch::{asm, naked_asm};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicUsize, Ordering};

/// All the memory there is. Freed blocks are not used again, so this bounds the sum of all allocations.
const HEAP_BYTES: usize = 24 << 20;

#[repr(align(64))]
struct Heap {
    bytes: UnsafeCell<[u8; HEAP_BYTES]>,
    used: AtomicUsize,
}

// SAFETY: blocks are handed out once each, by an atomic counter.
unsafe impl Sync for Heap {}

#[global_allocator]
static HEAP: Heap = Heap { bytes: UnsafeCell::new([0; HEAP_BYTES]), used: AtomicUsize::new(0) };

// SAFETY: every block lies inside `bytes`, is aligned as asked, and overlaps no other.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let mut start = 0;
        let claimed = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            start = used.checked_next_multiple_of(layout.align())?;
            start.checked_add(layout.size()).filter(|&end| end <= HEAP_BYTES)
        });
        match claimed {
            // SAFETY: `start` plus the size was just checked to lie inside.
            Ok(_) => unsafe { self.bytes.get().cast::<u8>().add(start) },
            Err(_) => core::ptr::null_mut(),
        }
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

/// 3: something panicked, a refused allocation included.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(3)
}

fn exit(code: i32) -> ! {
    // SAFETY: system call 231 (exit_group) takes the code in rdi and does not return.
    unsafe { asm!("syscall", in("rax") 231, in("rdi") code, options(noreturn)) }
}

extern "C" fn start() -> ! {
    exit(crate::run())
}

/// The entry point: aligns the stack as the calling convention wants it.
// SAFETY: the kernel jumps here with a valid stack; nothing returns to a caller.
#[unsafe(naked)]
#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    naked_asm!("and rsp, -16", "call {start}", "ud2", start = sym start)
}

// The compiler emits calls to these four. Written so that they are not turned into calls to themselves.

/// # Safety
/// As C's `memcpy`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(target: *mut u8, source: *const u8, count: usize) -> *mut u8 {
    // SAFETY: the caller vouches for `count` bytes at both ends, not overlapping.
    unsafe { asm!("rep movsb", inout("rcx") count => _, inout("rdi") target => _, inout("rsi") source => _) };
    target
}

/// # Safety
/// As C's `memmove`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(target: *mut u8, source: *const u8, count: usize) -> *mut u8 {
    if (target as usize).wrapping_sub(source as usize) >= count {
        // SAFETY: the caller vouches for both ranges; copying upwards overwrites nothing still to be read.
        return unsafe { memcpy(target, source, count) };
    }
    // SAFETY: as above, copying downwards; the direction flag is restored.
    unsafe {
        asm!("std", "rep movsb", "cld", inout("rcx") count => _,
             inout("rdi") target.wrapping_add(count.wrapping_sub(1)) => _,
             inout("rsi") source.wrapping_add(count.wrapping_sub(1)) => _)
    };
    target
}

/// # Safety
/// As C's `memset`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(target: *mut u8, value: i32, count: usize) -> *mut u8 {
    // SAFETY: the caller vouches for `count` bytes.
    unsafe { asm!("rep stosb", inout("rcx") count => _, inout("rdi") target => _, in("al") value as u8) };
    target
}

/// # Safety
/// As C's `memcmp`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
    let mut i = 0;
    while i < count {
        // SAFETY: the caller vouches for `count` bytes at both; volatile reads keep the loop from becoming a memcmp.
        let (x, y) = unsafe { (a.add(i).read_volatile(), b.add(i).read_volatile()) };
        if x != y {
            return i32::from(x) - i32::from(y);
        }
        i += 1;
    }
    0
}

/// Precompiled parts of `core` and `alloc` name these; with panics that abort they are never called.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// See [`rust_eh_personality`].
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    exit(4)
}
