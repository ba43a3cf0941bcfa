/** Who vouches for a version, and what that is worth. */

import { Alert, Label, Skeleton } from "@patternfly/react-core";
import { CheckCircleIcon, ExclamationTriangleIcon, MinusCircleIcon } from "@patternfly/react-icons";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";

import { Ago } from "../../components/Ago";
import { ErrorAlert } from "../../components/Failed";
import { Snippet } from "../../components/Snippet";
import { useVerification, type Place } from "./queries";

export function SignedLabel({ place, version }: { place: Place; version: string }) {
  const found = useVerification(place, version).data;
  if (!found) return <Skeleton width="4rem" screenreaderText="Loading" />;
  if (found.signed) {
    return (
      <Label isCompact color="green" icon={<CheckCircleIcon />}>
        Signed
      </Label>
    );
  }
  const problem = found.signatures.find((signature) => signature.problem)?.problem;
  if (problem || found.required) {
    return (
      <>
        <Label isCompact color="orange" icon={<ExclamationTriangleIcon />}>
          {problem ? "Not trusted" : "Missing"}
        </Label>
        <div className="yard-quiet">{problem ?? "This namespace serves signed versions only."}</div>
      </>
    );
  }
  return (
    <Label isCompact variant="outline" icon={<MinusCircleIcon />}>
      Not signed
    </Label>
  );
}

export function Signatures({ place, version }: { place: Place; version: string }) {
  const verification = useVerification(place, version);
  const found = verification.data;
  if (verification.error && !found) return <ErrorAlert title="It could not be verified" error={verification.error} />;
  if (!found) return <Skeleton height="4rem" screenreaderText="Verifying" />;
  return (
    <>
      {found.required && !found.signed && (
        <Alert component="h3" isInline variant="warning" title="It cannot be served here">
          This namespace serves models from versions that a trusted key has signed only.
        </Alert>
      )}
      {found.signatures.length > 0 ? (
        <Table aria-label="Signatures" variant="compact">
          <Thead>
            <Tr>
              <Th>Key</Th>
              <Th>Verdict</Th>
              <Th>Bytes checked</Th>
              <Th>Added</Th>
            </Tr>
          </Thead>
          <Tbody>
            {found.signatures.map((signature) => (
              <Tr key={signature.fingerprint + signature.added_at}>
                <Td dataLabel="Key">
                  {signature.key} <span className="yard-quiet">{signature.kind}</span>
                  <div className="yard-quiet">
                    <code title={signature.fingerprint}>{signature.fingerprint.slice(0, 19)}…</code>
                  </div>
                </Td>
                <Td dataLabel="Verdict">
                  {signature.valid && signature.trusted ? (
                    <Label isCompact color="green" icon={<CheckCircleIcon />}>
                      Valid and trusted
                    </Label>
                  ) : (
                    <Label isCompact color="orange" icon={<ExclamationTriangleIcon />}>
                      {signature.valid ? "Valid, not trusted" : "Not valid"}
                    </Label>
                  )}
                  {signature.problem && <div className="yard-quiet">{signature.problem}</div>}
                </Td>
                <Td dataLabel="Bytes checked">
                  <Ago at={signature.content_checked_at} />
                </Td>
                <Td dataLabel="Added">
                  <Ago at={signature.added_at} /> <span className="yard-quiet">by {signature.added_by}</span>
                </Td>
              </Tr>
            ))}
          </Tbody>
        </Table>
      ) : (
        <>
          <p>Nobody has signed it. Whoever has the key does so from where the key is:</p>
          <Snippet label="the command" text={`modelyard sign ${place.name}@${version} --key KEY`} />
        </>
      )}
    </>
  );
}
