#define DOCTEST_CONFIG_IMPLEMENT
#include "messages/type_ids.hpp"

#include <caf/init_global_meta_objects.hpp>
#include <doctest/doctest.h>
#include <google/protobuf/stubs/common.h>

#include <caf/io/middleman.hpp>

int main(int argc, char** argv) {
  caf::init_global_meta_objects<caf::id_block::astra_wire>();
  caf::init_global_meta_objects<caf::id_block::astra_local>();
  caf::io::middleman::init_global_meta_objects();
  caf::core::init_global_meta_objects();
  doctest::Context context{argc, argv};
  auto result = context.run();
  google::protobuf::ShutdownProtobufLibrary();
  return result;
}
