import { defineConfig } from 'vitest/config'
import { PATIENCE, patient } from './test/helpers/patience.mjs'

// The workers need not measure it again.
process.env.IPVS_PATIENCE = String(PATIENCE)
// Commands that tests start must not write into the home of whoever runs them.
process.env.IPVS_HISTORY = 'off'

/** The package as users install it: by other package managers, on other runtimes and another processor. */
export default defineConfig({
  test: {
    include: ['test/install/*.test.ts'],
    globalSetup: ['test/install/set-up.ts'],
    // Only what hangs may reach this.
    testTimeout: patient(60_000),
    hookTimeout: patient(60_000),
    reporters: ['verbose'],
  },
})
