# Every package the layers link.  One version each: see docs/design for why Boost is 1.74 and nothing newer.
if(NOT CAF_DIR AND NOT DEFINED ENV{CAF_DIR})
  execute_process(COMMAND "${PROJECT_SOURCE_DIR}/scripts/bootstrap" --print-prefix
    OUTPUT_VARIABLE _astra_caf_prefix OUTPUT_STRIP_TRAILING_WHITESPACE)
  if(ASTRA_SANITIZE MATCHES "thread" AND EXISTS "${_astra_caf_prefix}-thread")
    set(_astra_caf_prefix "${_astra_caf_prefix}-thread")
  endif()
  list(APPEND CMAKE_PREFIX_PATH "${_astra_caf_prefix}")
endif()
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
find_package(OpenSSL REQUIRED)
# CAF's version file accepts nothing but its own exact version, so the range is checked here.
find_package(CAF QUIET CONFIG COMPONENTS core io openssl)
if(NOT CAF_FOUND OR CAF_VERSION VERSION_LESS 0.18 OR CAF_VERSION VERSION_GREATER_EQUAL 0.19)
  message(FATAL_ERROR "CAF 0.18 not found.  scripts/bootstrap builds it into the cache; an installed one is found with "
    "-DCMAKE_PREFIX_PATH=/path/to/caf")
endif()
# Linked in where that is possible: messages are encoded and decoded all the time, and calls into another library's
# many small functions cost a simulation a few per cent.
set(Protobuf_USE_STATIC_LIBS ON)
find_package(Protobuf QUIET)
if(NOT Protobuf_FOUND)
  set(Protobuf_USE_STATIC_LIBS OFF)
  find_package(Protobuf REQUIRED)
endif()
find_package(spdlog REQUIRED)
find_package(fmt REQUIRED)
find_package(Boost 1.74 EXACT REQUIRED)
find_package(LibtorrentRasterbar REQUIRED)
find_package(SQLite3 3.31 REQUIRED)

# CAF's headers warn under C++20: they, and all others, are system headers to us.
foreach(target CAF::core CAF::io CAF::openssl)
  get_target_property(_dirs ${target} INTERFACE_INCLUDE_DIRECTORIES)
  if(_dirs)
    set_target_properties(${target} PROPERTIES INTERFACE_SYSTEM_INCLUDE_DIRECTORIES "${_dirs}")
  endif()
endforeach()

find_library(ASTRA_XXHASH_LIBRARY xxhash REQUIRED)
find_library(ASTRA_EDIT_LIBRARY edit REQUIRED)

# For programs that simulate: a simulator allocates and frees all the time, and mimalloc does that faster than glibc.
# Optional, and never under a sanitizer, which needs an allocator of its own.
add_library(astra_allocator INTERFACE)
if(NOT ASTRA_SANITIZE)
  find_package(mimalloc 2.0 QUIET)
  if(mimalloc_FOUND)
    # Nothing calls it by name: it replaces malloc and operator new by being loaded before the C library.
    target_link_libraries(astra_allocator INTERFACE -Wl,--push-state,--no-as-needed mimalloc -Wl,--pop-state)
  endif()
endif()
