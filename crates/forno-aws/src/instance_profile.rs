//! Roles for machines, and the instance profiles that machines get them by. Both are the
//! account's, of no region, and known by names that are unique in it.

use aws_sdk_iam::operation::add_role_to_instance_profile::AddRoleToInstanceProfileError;
use aws_sdk_iam::operation::attach_role_policy::AttachRolePolicyError;
use aws_sdk_iam::operation::create_instance_profile::CreateInstanceProfileError;
use aws_sdk_iam::operation::create_role::CreateRoleError;
use aws_sdk_iam::operation::delete_instance_profile::DeleteInstanceProfileError;
use aws_sdk_iam::operation::delete_role::DeleteRoleError;
use aws_sdk_iam::operation::delete_role_policy::DeleteRolePolicyError;
use aws_sdk_iam::operation::detach_role_policy::DetachRolePolicyError;
use aws_sdk_iam::operation::put_role_policy::PutRolePolicyError;
use aws_sdk_iam::operation::remove_role_from_instance_profile::RemoveRoleFromInstanceProfileError;
use aws_sdk_iam::types::Tag;

use crate::attempts::Pending;
use crate::error::{Error, Kind};
use crate::gateway::Gateway;
use crate::tag::Tags;

/// Only machines may be such a role.
const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":"ec2.amazonaws.com"}}]}"#;

/// A role to be made for machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRole {
    /// At most 64 characters.
    pub name: String,
    /// Begins and ends with a slash.
    pub path: String,
    pub description: String,
    /// The ARN of a policy: no more than this, whatever others allow.
    pub permissions_boundary: Option<String>,
    /// On it from the first moment.
    pub tags: Tags,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceProfile {
    pub name: String,
    /// At most one, by name.
    pub roles: Vec<String>,
    pub tags: Tags,
}

impl Gateway {
    pub async fn create_role(&self, role: &NewRole) -> Result<(), Error> {
        let call = self.call("CreateRole").on(&role.name);
        self.clients()
            .iam
            .create_role()
            .role_name(&role.name)
            .path(&role.path)
            .description(&role.description)
            .assume_role_policy_document(TRUST)
            .set_permissions_boundary(role.permissions_boundary.clone())
            .set_tags(Some(sdk_tags(&call, &role.tags)?))
            .customize()
            .interceptor(call.watch::<CreateRoleError>())
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        Ok(())
    }

    /// Gives a role a policy of its own, or another text to one that it has.
    pub async fn put_role_policy(
        &self,
        role: &str,
        name: &str,
        document: &str,
    ) -> Result<(), Error> {
        let call = self.call("PutRolePolicy").on(role);
        self.clients()
            .iam
            .put_role_policy()
            .role_name(role)
            .policy_name(name)
            .policy_document(document)
            .customize()
            .interceptor(call.watch::<PutRolePolicyError>())
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        Ok(())
    }

    /// Gives a role a managed policy; one that it has stays.
    pub async fn attach_role_policy(&self, role: &str, policy_arn: &str) -> Result<(), Error> {
        let call = self.call("AttachRolePolicy").on(policy_arn);
        self.clients()
            .iam
            .attach_role_policy()
            .role_name(role)
            .policy_arn(policy_arn)
            .customize()
            .interceptor(call.watch::<AttachRolePolicyError>())
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        Ok(())
    }

    /// The tags of a role; none when there is no such role.
    pub async fn role_tags(&self, name: &str) -> Result<Option<Tags>, Error> {
        let call = self.call("GetRole").on(name);
        let reply = self.clients().iam.get_role().role_name(name).send().await;
        let role = match reply.map_err(|error| call.failed(&error)) {
            Ok(reply) => reply.role,
            Err(error) if error.kind() == Kind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(role.map(|role| own_tags(role.tags)))
    }

    /// Names of the account's roles below a path.
    pub async fn roles_under(&self, path: &str) -> Result<Vec<String>, Error> {
        let call = self.call("ListRoles").on(path);
        let pages = self.clients().iam.list_roles().path_prefix(path);
        let roles = pages.into_paginator().items().send();
        let roles = roles.collect::<Result<Vec<_>, _>>().await;
        let roles = roles.map_err(|error| call.failed(&error))?;
        Ok(roles.into_iter().map(|role| role.role_name).collect())
    }

    /// Removes a role with its policies. [`Kind::DependencyViolation`] while an instance
    /// profile has it.
    pub async fn delete_role(&self, name: &str) -> Result<(), Error> {
        let call = self.call("ListRolePolicies").on(name);
        let own = self.clients().iam.list_role_policies().role_name(name);
        let own = own.into_paginator().items().send();
        let own = own.collect::<Result<Vec<_>, _>>().await;
        for policy in own.map_err(|error| call.failed(&error))? {
            let call = self.call("DeleteRolePolicy").on(name);
            let delete = self.clients().iam.delete_role_policy();
            let deleted = delete.role_name(name).policy_name(policy).customize();
            let watch = call.watch::<DeleteRolePolicyError>();
            let deleted = deleted.interceptor(watch).send().await;
            gone(deleted.map_err(|error| call.failed(&error)))?;
        }
        let call = self.call("ListAttachedRolePolicies").on(name);
        let managed = self.clients().iam.list_attached_role_policies();
        let managed = managed.role_name(name).into_paginator().items().send();
        let managed = managed.collect::<Result<Vec<_>, _>>().await;
        for policy in managed.map_err(|error| call.failed(&error))? {
            let call = self.call("DetachRolePolicy").on(name);
            let detach = self.clients().iam.detach_role_policy().role_name(name);
            let detached = detach.set_policy_arn(policy.policy_arn).customize();
            let watch = call.watch::<DetachRolePolicyError>();
            let detached = detached.interceptor(watch).send().await;
            gone(detached.map_err(|error| call.failed(&error)))?;
        }
        let call = self.call("DeleteRole").on(name);
        let deleted = self.clients().iam.delete_role().role_name(name).customize();
        let deleted = deleted.interceptor(call.watch::<DeleteRoleError>());
        gone(deleted.send().await.map_err(|error| call.failed(&error)))
    }

    pub async fn create_instance_profile(
        &self,
        name: &str,
        path: &str,
        tags: &Tags,
    ) -> Result<(), Error> {
        let call = self.call("CreateInstanceProfile").on(name);
        self.clients()
            .iam
            .create_instance_profile()
            .instance_profile_name(name)
            .path(path)
            .set_tags(Some(sdk_tags(&call, tags)?))
            .customize()
            .interceptor(call.watch::<CreateInstanceProfileError>())
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        Ok(())
    }

    /// [`Kind::Quota`] where it has a role already.
    pub async fn add_role_to_instance_profile(
        &self,
        profile: &str,
        role: &str,
    ) -> Result<(), Error> {
        let call = self.call("AddRoleToInstanceProfile").on(profile);
        self.clients()
            .iam
            .add_role_to_instance_profile()
            .instance_profile_name(profile)
            .role_name(role)
            .customize()
            .interceptor(call.watch::<AddRoleToInstanceProfileError>())
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        Ok(())
    }

    /// The profile of this name, if there is one.
    pub async fn instance_profile(&self, name: &str) -> Result<Option<InstanceProfile>, Error> {
        let call = self.call("GetInstanceProfile").on(name);
        let get = self.clients().iam.get_instance_profile();
        let reply = get.instance_profile_name(name).send().await;
        let profile = match reply.map_err(|error| call.failed(&error)) {
            Ok(reply) => reply.instance_profile,
            Err(error) if error.kind() == Kind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(profile.map(|profile| InstanceProfile {
            name: profile.instance_profile_name,
            roles: profile
                .roles
                .into_iter()
                .map(|role| role.role_name)
                .collect(),
            tags: own_tags(profile.tags),
        }))
    }

    /// Names of the account's instance profiles below a path.
    pub async fn instance_profiles_under(&self, path: &str) -> Result<Vec<String>, Error> {
        let call = self.call("ListInstanceProfiles").on(path);
        let pages = self.clients().iam.list_instance_profiles();
        let found = pages.path_prefix(path).into_paginator().items().send();
        let found = found.collect::<Result<Vec<_>, _>>().await;
        let found = found.map_err(|error| call.failed(&error))?;
        let names = found
            .into_iter()
            .map(|profile| profile.instance_profile_name);
        Ok(names.collect())
    }

    /// Takes its role out and removes it. Machines that have it keep running.
    pub async fn delete_instance_profile(&self, profile: &InstanceProfile) -> Result<(), Error> {
        let name = profile.name.as_str();
        for role in &profile.roles {
            let call = self.call("RemoveRoleFromInstanceProfile").on(name);
            let remove = self.clients().iam.remove_role_from_instance_profile();
            let removed = remove
                .instance_profile_name(name)
                .role_name(role)
                .customize();
            let watch = call.watch::<RemoveRoleFromInstanceProfileError>();
            let removed = removed.interceptor(watch).send().await;
            gone(removed.map_err(|error| call.failed(&error)))?;
        }
        let call = self.call("DeleteInstanceProfile").on(name);
        let delete = self.clients().iam.delete_instance_profile();
        let deleted = delete.instance_profile_name(name).customize();
        let deleted = deleted.interceptor(call.watch::<DeleteInstanceProfileError>());
        gone(deleted.send().await.map_err(|error| call.failed(&error)))
    }
}

/// What was to go and is not there is gone.
fn gone<T>(removed: Result<T, Error>) -> Result<(), Error> {
    match removed {
        Err(error) if error.kind() != Kind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn sdk_tags(call: &Pending, tags: &Tags) -> Result<Vec<Tag>, Error> {
    tags.iter()
        .map(|(key, value)| Tag::builder().key(key).value(value).build())
        .collect::<Result<_, _>>()
        .map_err(|error| call.malformed(error))
}

fn own_tags(tags: Option<Vec<Tag>>) -> Tags {
    let tags = tags.into_iter().flatten();
    tags.fold(Tags::new(), |all, tag| all.with(tag.key, tag.value))
}
