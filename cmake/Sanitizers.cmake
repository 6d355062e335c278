# Applied before any target exists, so that every translation unit of ours carries the same instrumentation.
if(ASTRA_SANITIZE)
  add_compile_options(-fsanitize=${ASTRA_SANITIZE} -fno-omit-frame-pointer -g1)
  add_link_options(-fsanitize=${ASTRA_SANITIZE})
  if(ASTRA_SANITIZE MATCHES "undefined")
    add_compile_options(-fno-sanitize-recover=undefined)
  endif()
endif()
