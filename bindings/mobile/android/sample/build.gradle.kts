// One screen: a question, a context, and the answer marked in it. `../../build` copies the model into the
// assets.
plugins {
    id("com.android.application")
}

android {
    namespace = "io.mobilebert.sample"
    compileSdk = 36

    defaultConfig {
        applicationId = "io.mobilebert.sample"
        minSdk = 24
        targetSdk = 36
        versionCode = 1
        versionName = "1.0"

        // The processors that `../../build` builds for. JNA has libraries for more, on which nothing would load.
        ndk {
            abiFilters += listOf("arm64-v8a", "armeabi-v7a", "x86_64")
        }
    }

    buildTypes {
        release {
            isMinifyEnabled = true
            proguardFiles(getDefaultProguardFile("proguard-android-optimize.txt"))
        }
    }

    // The weights are used where they lie in the package.
    androidResources {
        noCompress += "safetensors"
    }

    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_11
        targetCompatibility = JavaVersion.VERSION_11
    }
}

dependencies {
    implementation(project(":mobilebert"))
    implementation("org.jetbrains.kotlinx:kotlinx-coroutines-android:1.10.2")
}
