// The package on a real arm64 kernel with ip_vs: another processor, another Node, and the addon that was built for them.
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { Info, SnapshotEntry } from '../../lib/index.ts'
import { fetchNode } from '../../scripts/runtimes.mjs'
import { patient } from '../helpers/patience.mjs'
import { type Arm64Result, fetchArm64, runOnArm64 } from './arm64.mjs'
import { describeWith, installWithNpm, type Place } from './installation.ts'

const SCRIPT = `
import os from 'node:os'
import { Ipvs } from 'ipvs'

const ipvs = await Ipvs.open()
const web = await ipvs.addService({ protocol: 'tcp', address: '192.0.2.10', port: 443, scheduler: 'wrr' })
await web.addRealServer({ address: '10.0.0.7', port: 8443, method: 'masquerade', weight: 5 })
await web.addRealServer({ address: '10.0.0.8', port: 443, method: 'tunnel', upperThreshold: 100 })
const dns = await ipvs.addService({ protocol: 'udp', address: '2001:db8::10', port: 53, scheduler: 'rr' })
await dns.addRealServer({ address: '2001:db8::53', port: 53, method: 'direct' })
await ipvs.addService({ protocol: 'fwmark', fwmark: 7, family: 'ipv4', persistence: { timeoutSeconds: 300 } })
const refused = await ipvs.addService({ protocol: 'tcp', address: '192.0.2.10', port: 443 }).catch((error) => error.code)
const table = await ipvs.snapshot()
const info = await ipvs.info()
await ipvs.close()

// A network namespace of its own, which a thread of the addon enters.
const scratch = await Ipvs.probe()
console.log(JSON.stringify({
  machine: os.machine(), kernel: os.release(), arch: process.arch, version: process.version,
  table, info, refused, schedulers: scratch.schedulers,
}))
console.error('written to standard error')
process.exitCode = 3
`

interface Answer {
  readonly machine: string
  readonly kernel: string
  readonly arch: string
  readonly version: string
  readonly table: readonly SnapshotEntry[]
  readonly info: Info
  readonly refused: string
  readonly schedulers: readonly string[]
}

const NODE = '24.21.0'

async function getNeeds(): Promise<{ readonly node: string; readonly place: Place }> {
  await fetchArm64()
  const [node] = (await fetchNode(NODE, 'arm64')).argv
  return { node, place: await installWithNpm('arm64') }
}

await describeWith('arm64', getNeeds, ({ node, place }) => {
  let result: Arm64Result
  let answer: Answer

  function start(limitMs: number): Promise<Arm64Result> {
    return runOnArm64({ node, folder: place.project, script: 'script.mjs', limitMs })
  }

  beforeAll(async () => {
    place.write('script.mjs', SCRIPT)
    result = await start(patient(120_000))
    expect(result.stdout, result.rest).not.toBe('') // a script that failed says why in the rest
    answer = JSON.parse(result.stdout) as Answer
  }, patient(300_000))

  afterAll(() => {
    place.remove()
  })

  it('is a kernel and a Node for arm64', () => {
    expect(answer).toMatchObject({ machine: 'aarch64', arch: 'arm64', version: `v${NODE}` })
    expect(answer.kernel).toMatch(/^6\.1\..*-arm64$/)
  })

  it('passes on the output and the exit status of the script', () => {
    expect(result.rest).toContain('written to standard error\n')
    expect(result.status).toBe(3)
  })

  it("reads the version of the kernel's IPVS", () => {
    expect(answer.info).toEqual({ version: '1.2.1', connectionTableSize: 4096 })
  })

  it('reads back everything that it added', () => {
    const web = {
      service: { protocol: 'tcp', address: '192.0.2.10', port: 443, scheduler: 'wrr' },
      realServers: [
        // The kernel lists the newest first.
        {
          address: '10.0.0.8',
          port: 443,
          method: 'tunnel',
          tunnel: { type: 'ipip' },
          weight: 1,
          upperThreshold: 100,
        },
        { address: '10.0.0.7', port: 8443, method: 'masquerade', weight: 5 },
      ],
    }
    const dns = {
      service: { protocol: 'udp', address: '2001:db8::10', port: 53, scheduler: 'rr' },
      realServers: [{ address: '2001:db8::53', port: 53, method: 'direct', weight: 1 }],
    }
    const persistence = { timeoutSeconds: 300, netmask: '255.255.255.255' }
    const marked = {
      service: { protocol: 'fwmark', fwmark: 7, family: 'ipv4', scheduler: 'wlc', persistence },
      realServers: [],
    }
    expect(answer.table).toHaveLength(3)
    expect(answer.table).toEqual(expect.arrayContaining([web, dns, marked]))
  })

  it('gets the error of the kernel', () => {
    expect(answer.refused).toBe('EEXIST')
  })

  it('enters a network namespace, where schedulers load on demand', () => {
    expect(answer.schedulers).toEqual(expect.arrayContaining(['rr', 'wrr', 'wlc', 'mh']))
  })

  it('is ended at the limit, and says so', async () => {
    await expect(start(1)).rejects.toThrow('the arm64 machine was ended at the limit of 1 ms')
  })
})
