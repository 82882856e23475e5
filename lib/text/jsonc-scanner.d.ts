/**
 * The one file of jsonc-parser that JSON is read with. Its main file cannot be
 * bundled for Node (it hides its imports from a bundler), and its ES modules
 * cannot be loaded by Node (their imports have no extensions); this file imports
 * nothing and works everywhere.
 */
declare module 'jsonc-parser/lib/umd/impl/scanner.js' {
  export { createScanner } from 'jsonc-parser'
}
