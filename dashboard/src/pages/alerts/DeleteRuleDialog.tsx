/** Delete a rule of one's own. */

import { Content } from "@patternfly/react-core";
import { useMutation } from "@tanstack/react-query";

import { FormDialog } from "../../components/FormDialog";
import { notify } from "../../components/notices";
import { askRulesAgain, deleteRule, type AlertRule } from "./calls";

export function DeleteRuleDialog({ scope, rule, close }: { scope: string; rule: AlertRule; close: () => void }) {
  const deleting = useMutation({
    mutationFn: () => deleteRule(scope, rule),
    onSuccess: () => {
      notify("success", `The rule ${rule.name} is gone`);
      void askRulesAgain(scope);
      close();
    },
  });
  return (
    <FormDialog
      title={`Delete the rule ${rule.name}?`}
      words="Delete"
      refused="It was not deleted"
      isDangerous
      mutation={deleting}
      submit={() => deleting.mutate()}
      close={close}
    >
      <Content>
        What it has fired is over then. Where it took the place of a built-in rule, the built-in one is in force again.
      </Content>
    </FormDialog>
  );
}
