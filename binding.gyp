# What an install on a platform without a prebuilt addon builds. The same
# sources and flags stand in CMakeLists.txt.
{
  "targets": [
    {
      "target_name": "ipvs",
      "conditions": [
        ["OS=='linux'", {
          "dependencies": ["<!(node -p \"require('node-addon-api').targets\"):node_addon_api"],
          "sources": [
            "native/addon.cc",
            "native/genl_socket.cc",
            "native/header_constants.cc",
            "native/message.cc",
            "native/message_blocks.cc",
            "native/netlink_socket.cc",
            "native/netns.cc"
          ],
          "defines": ["NAPI_VERSION=8", "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS"],
          "cflags": ["-fvisibility=hidden", "-Wall", "-Wextra"],
          # node's own common.gypi asks for what it was built with, which may be
          # newer than the compiler here.
          "cflags_cc!": ["-std=gnu++17", "-std=gnu++20"],
          "cflags_cc": ["-std=c++17", "-fvisibility-inlines-hidden"],
          "ldflags": [
            "-static-libstdc++",
            "-static-libgcc",
            "-Wl,--exclude-libs,ALL",
            "-Wl,--version-script=<(module_root_dir)/native/exports.map"
          ]
        }, {
          # The kernel's IPVS is Linux only; the rest of the package works
          # elsewhere, so its install must too.
          "type": "none"
        }]
      ]
    }
  ]
}
