import { Ipvs } from '../ipvs.ts'
import type { Finding } from './findings/finding.ts'
import type { DiagnoseOptions } from './options.ts'

/**
 * Says what is wrong on this machine, as far as can be seen from here: with the
 * table, sysctls, addresses, routes, neighbours and firewall rules. Changes
 * nothing. Runs `ip`, and `nft` and `iptables-save` where they are. A finding
 * is sure; what cannot be seen from here is not in the list. No permission
 * and no module are findings too. The worst come first.
 *
 * @throws {TypeError | RangeError} naming the option if it is wrong.
 * @throws {IpvsError} ENOENT: there is no such network namespace. ESRCH: one of `services` is not in the table.
 */
export async function diagnose(options: DiagnoseOptions = {}): Promise<Finding[]> {
  // The library starts without it: most programs never ask.
  const { examine } = await import('./examine.ts')
  return examine(Ipvs, options)
}
