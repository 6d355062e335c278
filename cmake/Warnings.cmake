# Warnings for our own code, as errors.  Other people's headers are system headers and stay silent.
add_library(astra_warnings INTERFACE)
target_compile_options(astra_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Werror -Wshadow=local -Wnon-virtual-dtor -Wold-style-cast -Wcast-align -Woverloaded-virtual
  -Wimplicit-fallthrough -Wextra-semi -Wvla -Wno-missing-field-initializers
  # g++ 12 reports these inside inlined library code (std::string, CAF messages) with -O2.
  -Wno-restrict -Wno-stringop-overflow -Wno-array-bounds -Wno-maybe-uninitialized -Wno-dangling-pointer)
