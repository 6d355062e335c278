#pragma once

#include <filesystem>
#include <fstream>
#include <string>

#include <stdlib.h>

namespace astra::test {

/// A directory with made-up files of /proc, /sys and /dev; gone with the object.
class fake_tree {
public:
  fake_tree() {
    std::string name = (std::filesystem::temp_directory_path() / "astra-tree-XXXXXX").string();
    root_ = ::mkdtemp(name.data());
  }
  ~fake_tree() { std::filesystem::remove_all(root_); }
  fake_tree(const fake_tree&) = delete;
  fake_tree& operator=(const fake_tree&) = delete;

  void write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path{root_ + path}.parent_path());
    std::ofstream{root_ + path} << text;
  }

  const std::string& root() const { return root_; }

private:
  std::string root_;
};

} // namespace astra::test
