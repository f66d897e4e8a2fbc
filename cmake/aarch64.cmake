# Cross-compile for 64-bit ARM Linux on Debian or Ubuntu: cmake -DCMAKE_TOOLCHAIN_FILE=cmake/aarch64.cmake.
# Programs run under qemu-user, whose emulated processor QEMU_CPU chooses. `tools/test_neon` uses it.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_C_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64)
# Libraries of the foreign architecture (Debian's multiarch).
set(ENV{PKG_CONFIG_LIBDIR} /usr/lib/aarch64-linux-gnu/pkgconfig:/usr/share/pkgconfig)
