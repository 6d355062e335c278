#include "actors/node/content_paths.hpp"

#include <doctest/doctest.h>

using namespace astra;

TEST_CASE("a command finds its contents by placeholder and by variable, whatever its kind") {
  content_paths paths{{"ocr-det", {"/s/1"}}, {"voc.en", {"/s/2"}}};
  pb::AppSpec spec;
  auto& server = *spec.mutable_server();
  server.add_command("serve");
  server.add_command("--model={content.ocr-det}/w.bin:{content.voc.en}:{content.other}:{port}");
  server.add_env("MODEL={content.ocr-det}");
  auto filled = with_contents(spec, paths);
  CHECK(filled->server().command(1) == "--model=/s/1/w.bin:/s/2:{content.other}:{port}");
  REQUIRE(filled->server().env_size() == 3);
  CHECK(filled->server().env(0) == "MODEL=/s/1");
  CHECK(filled->server().env(1) == "ASTRA_CONTENT_OCR_DET=/s/1");
  CHECK(filled->server().env(2) == "ASTRA_CONTENT_VOC_EN=/s/2");

  pb::AppSpec actor;
  actor.mutable_actor()->add_args("model={content.ocr-det}");
  actor.mutable_actor()->set_library("{content.voc.en}/libx.so");
  CHECK(with_contents(actor, paths)->actor().args(0) == "model=/s/1");
  CHECK(with_contents(actor, paths)->actor().library() == "/s/2/libx.so");

  pb::AppSpec clusters;
  clusters.mutable_per_request()->add_command("{content.ocr-det}/run");
  clusters.mutable_federation()->mutable_head()->add_command("{content.voc.en}/head");
  clusters.mutable_federation()->mutable_worker()->add_env("A={content.voc.en}");
  auto all = with_contents(clusters, paths);
  CHECK(all->per_request().command(0) == "/s/1/run");
  CHECK(all->federation().head().command(0) == "/s/2/head");
  CHECK(all->federation().worker().env(0) == "A=/s/2");
}

TEST_CASE("who may read a content while it comes is given its URL the same way") {
  content_paths paths{
      {"voc.en", {"/s/1", "http://here/1"}}, {"voc.en.url", {"/s/2", "http://here/2"}}, {"none", {"/s/3"}}};
  pb::AppSpec spec;
  auto& server = *spec.mutable_server();
  server.add_command("{content.none}:{content.none.url}:{content.voc.en}");
  server.add_command("{content.voc.en.url}:{content.voc.en.url.url}");
  auto filled = with_contents(spec, paths);
  CHECK(filled->server().command(0) == "/s/3::/s/1");
  // A content of that name goes before.
  CHECK(filled->server().command(1) == "/s/2:http://here/2");
  REQUIRE(filled->server().env_size() == 5);
  CHECK(filled->server().env(0) == "ASTRA_CONTENT_NONE=/s/3");
  CHECK(filled->server().env(2) == "ASTRA_CONTENT_VOC_EN_URL=http://here/1");
}
