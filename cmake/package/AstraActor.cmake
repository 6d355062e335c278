# astra_add_actor_library(tally tally.cpp ...): libtally.so, which `library = ...` in an app file, or `astra worker`,
# loads.  Nothing of it but the one entry can be seen from outside, so that several libraries get along in one process.
function(astra_add_actor_library name)
  add_library(${name} MODULE ${ARGN})
  target_link_libraries(${name} PRIVATE Astra::actor)
  set_target_properties(${name} PROPERTIES CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON
    POSITION_INDEPENDENT_CODE ON)
endfunction()
