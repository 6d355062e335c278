#include "runtime/version.hpp"

#include <cstdio>

int main() {
  std::puts(astra::version_line().c_str());
}
