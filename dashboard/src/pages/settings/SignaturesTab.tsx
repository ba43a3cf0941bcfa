/** Which namespaces serve signed versions only; what each trusts is on its own page. */

import { Label } from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { Link } from "react-router";

import { useNamespaces } from "../../api/queries";
import { LoadingRows } from "../../components/Rows";

export function SignaturesTab() {
  const namespaces = useNamespaces().data;
  if (!namespaces) return <LoadingRows words="Loading namespaces" />;
  return (
    <>
      <p className="yard-quiet">Each namespace trusts keys of its own, and says whether it serves unsigned versions.</p>
      <Table aria-label="Signatures by namespace" variant="compact">
        <Thead>
          <Tr>
            <Th>Namespace</Th>
            <Th>Serves</Th>
          </Tr>
        </Thead>
        <Tbody>
          {namespaces.map(({ name, require_signature }) => (
            <Tr key={name}>
              <Td dataLabel="Namespace">
                <Link to={`/namespaces/${name}/signatures`}>{name}</Link>
              </Td>
              <Td dataLabel="Serves">
                {require_signature ? (
                  <Label status="success" isCompact>
                    Signed versions only
                  </Label>
                ) : (
                  "signed and unsigned versions"
                )}
              </Td>
            </Tr>
          ))}
        </Tbody>
      </Table>
    </>
  );
}
