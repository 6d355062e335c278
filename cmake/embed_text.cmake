# Turns a text file into a C++ source that defines it as a std::string_view of that name:
#   cmake -DINPUT=a.html -DOUTPUT=a.cpp -DNAME=astra::sim::space_time_template -P embed_text.cmake
# As numbers, because a string literal may be limited to 64 KiB and a delimiter could occur in the text.
file(READ "${INPUT}" bytes HEX)
string(LENGTH "${bytes}" digits)
math(EXPR size "${digits} / 2")
string(REPEAT "[0-9a-f]" 32 row)
string(REGEX REPLACE "(${row})" "\\1\n" bytes "${bytes}")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "'\\\\x\\1'," bytes "${bytes}")
string(REGEX MATCH "^(.*)::([a-z_]+)$" matched "${NAME}")
set(namespace "${CMAKE_MATCH_1}")
set(variable "${CMAKE_MATCH_2}")
file(WRITE "${OUTPUT}" "#include <string_view>\n\nnamespace {\nconst char bytes[] = {\n${bytes}\n};\n} // namespace\n\n"
  "namespace ${namespace} {\nextern const std::string_view ${variable};\n"
  "const std::string_view ${variable}{bytes, ${size}};\n} // namespace ${namespace}\n")
