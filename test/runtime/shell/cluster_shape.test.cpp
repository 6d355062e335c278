#include "runtime/shell/cluster_shape.hpp"

#include <doctest/doctest.h>

#include <string>

using namespace astra::shell;

namespace {

std::string error_of(std::string_view text) {
  auto read = parse_shaped(text);
  return read.error ? std::to_string(read.error->at.line) + ":" + std::to_string(read.error->at.column) + ": "
                          + read.error->message
                    : "none";
}

} // namespace

TEST_CASE("the first statement of a script states its cluster") {
  auto read = parse_shaped("# five small ones\n\ncluster nodes=5 resources=2 cores=0.5 memory=256MiB\nps\n");
  REQUIRE(!read.error);
  CHECK(read.statements.size() == 2);
  CHECK(read.shape.nodes == 5);
  CHECK(read.shape.resources == 2);
  CHECK(read.shape.cpu_milli == 500);
  CHECK(read.shape.memory_bytes == 256u << 20);
  auto later = parse_shaped("ps\ncluster nodes=5\n");
  REQUIRE(!later.error);
  CHECK(!later.shape.nodes);
  CHECK(!parse_shaped("").shape.nodes);
}

TEST_CASE("a shape that cannot be is told with its place, the rule and the cure") {
  CHECK(error_of("\ncluster nodes=0") == "2:1: nodes = '0': write a number from 1 to 64");
  CHECK(error_of("cluster nodes=many") == "1:1: nodes = 'many': write a number from 1 to 64");
  CHECK(error_of("cluster node=5")
        == "1:1: a cluster has no 'node'; did you mean 'nodes'?; write it as cluster [nodes=5] [resources=1] [cores=2] "
           "[memory=4GiB]");
  CHECK(error_of("cluster 5").starts_with("1:1: '5' has no name; write it as cluster"));
  CHECK(error_of("cluster cores=0").starts_with("1:1: cores = '0': write a number of cores"));
  CHECK(error_of("cluster memory=big").starts_with("1:1: memory = 'big': write a size"));
  CHECK(error_of("cluster").starts_with("1:1: write it as cluster"));
  CHECK(error_of("cluster nodes=$n") == "1:15: $n: a cluster is made before anything has a result; write plain values");
  CHECK(error_of("cluster nodes=").starts_with("1:15: expected a value after ="));
}
