{
  "includes": ["native/binding.gyp"]
}
