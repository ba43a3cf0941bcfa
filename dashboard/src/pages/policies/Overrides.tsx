/** Exceptions from a policy: for a model, with a reason, until they expire. */

import { Button, TextInput } from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { useId, useState } from "react";
import { Link } from "react-router";

import { Ago } from "../../components/Ago";
import { messageOf } from "../../components/Failed";
import { Field, FormDialog, wrongWith } from "../../components/FormDialog";
import { notify } from "../../components/notices";
import { PickBySearch } from "../../components/PickBySearch";
import { endOf, SHORT, startEnd, Until } from "../../components/Until";
import { useEndOverride, useOverride, type ModelPolicies, type Policy } from "./data";

export function Overrides({ policy, found }: { policy: Policy; found: ModelPolicies[] }) {
  const [isAdding, add] = useState(false);
  const ending = useEndOverride(policy.name);
  const rows = found.flatMap((one) => {
    const override = one.rulings.find((ruling) => ruling.override !== null)?.override;
    return override ? [{ one, override }] : [];
  });
  return (
    <>
      {rows.length === 0 ? (
        <p className="yard-quiet">None: it holds for every model that it is for.</p>
      ) : (
        <Table aria-label="Overrides" variant="compact">
          <Thead>
            <Tr>
              <Th>Model</Th>
              <Th>Reason</Th>
              <Th>Until</Th>
              <Th screenReaderText="End it" />
            </Tr>
          </Thead>
          <Tbody>
            {rows.map(({ one, override }) => (
              <Tr key={`${one.namespace}/${one.name}`}>
                <Td dataLabel="Model">
                  <Link to={`/models/${one.namespace}/${one.name}`}>{one.name}</Link>
                  <div className="yard-quiet">{one.namespace}</div>
                </Td>
                <Td dataLabel="Reason">
                  {override.reason} <span className="yard-quiet">by {override.by}</span>
                </Td>
                <Td dataLabel="Until">
                  <Ago at={override.expires_at} />
                </Td>
                <Td isActionCell>
                  <Button
                    variant="secondary"
                    size="sm"
                    aria-label={`End the override for ${one.name}`}
                    onClick={() =>
                      ending.mutate(one, {
                        onSuccess: () => notify("success", `${policy.name} holds for ${one.name} again`),
                        onError: (error) => notify("danger", "The override was not ended", messageOf(error)),
                      })
                    }
                  >
                    End
                  </Button>
                </Td>
              </Tr>
            ))}
          </Tbody>
        </Table>
      )}
      <Button variant="link" isInline onClick={() => add(true)} isDisabled={found.length === 0}>
        Make an exception
      </Button>
      {isAdding && <AddOverride policy={policy} found={found} close={() => add(false)} />}
    </>
  );
}

function AddOverride({ policy, found, close }: { policy: Policy; found: ModelPolicies[]; close: () => void }) {
  const id = useId();
  const [picked, pick] = useState("");
  const [reason, setReason] = useState("");
  const [end, choose] = useState(startEnd(1));
  const overriding = useOverride(policy.name);
  const model = found.find((one) => `${one.namespace}/${one.name}` === picked);
  const expires = endOf(end, SHORT);
  return (
    <FormDialog
      title={`Make an exception from ${policy.name}`}
      description="For one model, until it expires: 90 days at most. It goes on record with its reason."
      words="Make it"
      refused="It was not made"
      mutation={overriding}
      isDisabled={!model || !reason.trim() || !expires}
      close={close}
      submit={() =>
        model &&
        expires &&
        overriding.mutate(
          { model, reason, expires },
          {
            onSuccess: () => {
              notify("success", `${policy.name} does not hold for ${model.name} for now`);
              close();
            },
          },
        )
      }
    >
      <Field label="Model" id={`${id}-model`} isRequired>
        <PickBySearch
          id={`${id}-model`}
          label="Model"
          placeholder="Choose a model"
          value={picked}
          choices={found.map(({ namespace, name }) => ({
            value: `${namespace}/${name}`,
            words: `${namespace}/${name}`,
          }))}
          onPick={pick}
        />
      </Field>
      <Field label="Reason" id={`${id}-reason`} isRequired wrong={wrongWith(overriding.error, "reason")}>
        <TextInput id={`${id}-reason`} value={reason} onChange={(_, value) => setReason(value)} />
      </Field>
      <Field label="Until" id={`${id}-until`} isRequired wrong={wrongWith(overriding.error, "expires")}>
        <Until id={`${id}-until`} label="Until" whiles={SHORT} end={end} choose={choose} />
      </Field>
    </FormDialog>
  );
}
