import { openNative } from '../../lib/transport/native.ts'
import type { Transport } from '../../lib/transport/transport.ts'
import { kernelSince, type Netns, withNamespace } from './kernel.ts'
import { hashSeedOf } from './kernel-table.ts'
import type { Kernel } from '../conformance/cases.ts'
import { patient } from './patience.mjs'

/** A namespace of the real kernel as memory has it in test/helpers/memory.ts. */
export function withKernel<T>(body: (kernel: Kernel, netns: Netns) => Promise<T>): Promise<T> {
  return withNamespace(async (netns) => {
    const script = `
      ip link add d0 type dummy
      ip link set d0 up
      ip addr add 10.9.9.1/24 dev d0
      ip addr add fd00::1/64 dev d0 nodad`
    await netns.run(['sh', '-ec', script])
    const transport = await openTransport(netns)
    try {
      const hashSeed = await hashSeedOf(transport)
      const version = kernelSince(6, 12) ? '6.12' : '6.1'
      const hz = await readHz(netns)
      return await body({ transport, ipvs: netns.ipvs, version, hz, hashSeed }, netns)
    } finally {
      await transport.close()
    }
  })
}

async function openTransport(netns: Netns): Promise<Transport> {
  const transport = await openNative({ netns: netns.path, timeoutMs: patient(5000) })
  if ('errno' in transport) throw new Error(`no transport: errno ${String(transport.errno)}`)
  return transport
}

/** CONFIG_HZ: /proc/net/ip_vs has timeouts in ticks of it. */
async function readHz(netns: Netns): Promise<number> {
  await netns.ipvs.addService({ protocol: 'fwmark', fwmark: 1, persistence: { timeoutSeconds: 1 } })
  const [, hz] = /persistent (\d+)/.exec(await netns.read('/proc/net/ip_vs')) ?? []
  await netns.ipvs.flush()
  return Number(hz)
}
