/** A project of a user that installs the package: name of each file -> what is in it. */
export const PROJECT: Readonly<Record<string, string>> = {
  'package.json': `{
  "private": true,
  "type": "module"
}
`,
  'tsconfig.nodenext.json': `{
  "compilerOptions": {
    "module": "nodenext",
    "target": "es2022",
    "lib": ["es2022", "esnext.disposable"],
    "types": ["node"],
    "strict": true,
    "exactOptionalPropertyTypes": true,
    "noEmit": true
  },
  "files": ["user.ts", "user.cts"]
}
`,
  'tsconfig.bundler.json': `{
  "compilerOptions": {
    "module": "esnext",
    "moduleResolution": "bundler",
    "target": "es2022",
    "lib": ["es2022", "dom"],
    "types": ["node"],
    "strict": true,
    "noEmit": true
  },
  "files": ["user.ts"]
}
`,
  'user.ts': `import { Ipvs, IpvsError, type RealServer, Service, type ServiceSpec, type Transport } from 'ipvs'
import { createMemoryKernel } from 'ipvs/testing'

const spec: ServiceSpec = { protocol: 'tcp', address: '192.0.2.10', port: 80, persistence: {} }

export async function addOnce(ipvs: Ipvs): Promise<Service> {
  try {
    return await ipvs.addService(spec)
  } catch (error) {
    if (error instanceof IpvsError && error.code === 'EEXIST') return ipvs.service(spec)
    throw error
  }
}

export async function largest(): Promise<bigint> {
  const ipvs = await Ipvs.open()
  try {
    const table = await ipvs.snapshot({ bigint: true })
    const servers: RealServer<bigint>[] = table.flatMap(({ realServers }) => realServers)
    return servers.reduce((most, { stats }) => (stats.bytesIn > most ? stats.bytesIn : most), 0n)
  } finally {
    await ipvs.close()
  }
}

export async function inMemory(): Promise<void> {
  const transport: Transport = createMemoryKernel()
  const ipvs = await Ipvs.open({ transport })
  // @ts-expect-error what is @internal is not in the types
  Service.of(transport, {})
  // @ts-expect-error nor can a service be made without what it belongs to
  console.log(new Service())
}

// @ts-expect-error a field that is misspelt
const misspelt: ServiceSpec = { protocol: 'tcp', address: '192.0.2.10', prot: 80 }
console.log(misspelt)
`,
  'user.cts': `import { Ipvs } from 'ipvs'

export async function version(): Promise<string> {
  const ipvs = await Ipvs.open()
  const { version } = await ipvs.info()
  await ipvs.close()
  return version
}
`,
}
