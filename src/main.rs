//! The program; what it does is in the library, where tests and fuzz targets reach it too.

#![forbid(unsafe_code)]

// glibc's allocator keeps what ten thousand sessions once used; jemalloc gives it back.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    pillarbox::main()
}
