# One folder = one layer = one library with three fences:
#   include fence  its headers are reachable only through its own root, so a lower layer cannot include a higher one;
#   link fence     the whole archive links against its declared layers alone;
#   header fence   all_verify_interface_header_sets compiles every header on its own.
#
#   astra_layer(p2p SOURCES a.cpp HEADERS a.hpp PROTOS wire/a.proto LINKS astra::config PRIVATE_LINKS ...)
function(astra_layer name)
  cmake_parse_arguments(arg "" "" "SOURCES;HEADERS;PROTOS;LINKS;PRIVATE_LINKS" ${ARGN})
  set(root "${PROJECT_BINARY_DIR}/include-root/${name}")
  file(MAKE_DIRECTORY "${root}")
  file(CREATE_LINK "${CMAKE_CURRENT_SOURCE_DIR}" "${root}/${name}" SYMBOLIC)
  add_library(astra_${name} STATIC ${arg_SOURCES})
  add_library(astra::${name} ALIAS astra_${name})
  list(TRANSFORM arg_HEADERS PREPEND "${root}/${name}/")
  target_sources(astra_${name} PUBLIC FILE_SET HEADERS BASE_DIRS "${root}" FILES ${arg_HEADERS})
  set_target_properties(astra_${name} PROPERTIES VERIFY_INTERFACE_HEADER_SETS ON)
  target_link_libraries(astra_${name} PUBLIC ${arg_LINKS} PRIVATE ${arg_PRIVATE_LINKS}
    $<BUILD_INTERFACE:astra_warnings>)

  if(arg_PROTOS)
    # Generated code is not ours to keep warning-free: it gets its own library and is a system include.
    set(generated "${PROJECT_BINARY_DIR}/generated/${name}")
    file(MAKE_DIRECTORY "${generated}/${name}")
    set(proto_sources)
    foreach(proto ${arg_PROTOS})
      string(REGEX REPLACE "\\.proto$" ".pb" stem "${proto}")
      add_custom_command(
        OUTPUT "${generated}/${name}/${stem}.cc" "${generated}/${name}/${stem}.h"
        COMMAND protobuf::protoc "--proto_path=${root}" "--cpp_out=${generated}" "${root}/${name}/${proto}"
        DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/${proto}" VERBATIM COMMENT "protoc ${name}/${proto}")
      list(APPEND proto_sources "${generated}/${name}/${stem}.cc")
    endforeach()
    add_library(astra_${name}_proto STATIC ${proto_sources})
    target_include_directories(astra_${name}_proto SYSTEM PUBLIC "${generated}")
    target_link_libraries(astra_${name}_proto PUBLIC protobuf::libprotobuf)
    target_compile_options(astra_${name}_proto PRIVATE -w)
    target_link_libraries(astra_${name} PUBLIC astra_${name}_proto)
  endif()

  add_executable(astra_${name}_links "${PROJECT_SOURCE_DIR}/cmake/link_fence.cpp")
  target_link_libraries(astra_${name}_links PRIVATE "$<LINK_LIBRARY:WHOLE_ARCHIVE,astra_${name}>")
endfunction()

# The library astra_<layer>_<variant>: the layer's sources and some more, compiled with other definitions, which its
# users see too.  Not part of `all`.
#
#   astra_layer_variant(actors mutants SOURCES mutant.cpp DEFINITIONS ASTRA_MUTANTS)
function(astra_layer_variant name variant)
  cmake_parse_arguments(arg "" "" "SOURCES;DEFINITIONS" ${ARGN})
  set(target astra_${name}_${variant})
  get_target_property(sources astra_${name} SOURCES)
  add_library(${target} STATIC EXCLUDE_FROM_ALL ${sources} ${arg_SOURCES})
  target_include_directories(${target} PUBLIC "${PROJECT_BINARY_DIR}/include-root/${name}")
  target_compile_definitions(${target} PUBLIC ${arg_DEFINITIONS})
  get_target_property(links astra_${name} LINK_LIBRARIES)
  target_link_libraries(${target} PUBLIC ${links})
endfunction()
