//! A repeated call allocates nothing. Alone in its process, for it counts every allocation.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod axpy;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use attnc_runtime::{Library, TensorView, TensorViewMut, Workspace};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn a_repeated_call_allocates_nothing() {
    let folder = axpy::artifact(axpy::info());
    // SAFETY: the library does what the manifest says.
    let library = unsafe { Library::open(folder.path()) }.unwrap();
    let kernel = library.kernel("axpy").unwrap();
    let (a, mut c, mut t, mut h) = ([1f32; 400], [0f32; 400], [0f64; 101], [0i32; 200]);
    let mut workspace = Workspace::new();
    let mut call = || {
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        kernel
            .call_in(&mut workspace)
            .threads(1)
            .param("flip", true)
            .input("A", TensorView::new(&a, &[100, 4]).unwrap())
            .input("B", TensorView::strided(&a, 0, &[100, 4], &[0, 1]).unwrap())
            .input("Z", TensorView::new(&[true, false], &[2]).unwrap())
            .output("C", TensorViewMut::new(&mut c, &[100, 4]).unwrap())
            .output("T", TensorViewMut::new(&mut t, &[101]).unwrap())
            .output("H", TensorViewMut::new(&mut h, &[200]).unwrap())
            .run()
            .unwrap();
        ALLOCATIONS.load(Ordering::Relaxed) - before
    };
    assert!(call() > 0);
    assert_eq!(call(), 0);
    assert_eq!(c, [-1.25; 400]);
}
