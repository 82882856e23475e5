import { configDefaults, defineConfig } from 'vitest/config'
import { PATIENCE, patient } from './test/helpers/patience.mjs'

// The workers need not measure it again.
process.env.IPVS_PATIENCE = String(PATIENCE)
// Commands that tests start must not write into the home of whoever runs them.
process.env.IPVS_HISTORY = 'off'

/** What uses the addon, starts processes, or takes a compiler. */
const SYSTEM = [
  'test/{docs,guest,native,package,process}/**/*.test.ts',
  'test/cli/{bundle,screens}.test.ts',
  'test/demo.test.ts',
]

/**
 * All tests that need no ip_vs. test/kernel and test/traffic, which run in a guest, and test/install, which fetches runtimes and package
 * managers, have configurations of their own.
 */
export default defineConfig({
  test: {
    // Tests wait for processes as much as they compute.
    maxWorkers: '100%',
    // Only what hangs may reach this.
    testTimeout: patient(60_000),
    hookTimeout: patient(60_000),
    reporters: ['default'],
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts'],
          exclude: [...configDefaults.exclude, 'test/{install,kernel,traffic}/**', ...SYSTEM],
          // Loading the library anew for each file takes longer than the tests do.
          isolate: false,
        },
      },
      {
        extends: true,
        test: { name: 'system', include: SYSTEM, globalSetup: ['test/helpers/system-setup.ts'] },
      },
    ],
  },
})
