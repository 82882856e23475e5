import { defineConfig } from 'vitest/config'
import { patient } from './test/helpers/patience.mjs'

/** Everything that needs no ip_vs. test/kernel has a configuration of its own, since it runs in a guest. */
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: ['test/kernel/**'],
    // Only what hangs may reach this.
    testTimeout: patient(60_000),
    hookTimeout: patient(60_000),
    reporters: ['default'],
  },
})
