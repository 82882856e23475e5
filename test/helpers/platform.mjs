// Loaded before a program (node --import): makes it believe that it runs elsewhere than on Linux.
Object.defineProperty(process, 'platform', { value: process.env['IPVS_TEST_PLATFORM'], enumerable: true })
